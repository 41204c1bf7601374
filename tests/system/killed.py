"""A run with every part of the library and faults, which is killed and goes on: `python killed.py FOLDER`.

The children that train and are killed are copies of a process that has imported everything, which takes seconds.
"""

from __future__ import annotations

import math
import os
import random
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from homeostat import CoupledLoop, Homeostat, HomeostatWarning
from homeostat import nn as hnn
from homeostat.actuators import Dial, LossWeight
from homeostat.guards import Guard, Ladder, SnapshotPolicy
from homeostat.guards.detectors import Divergence, NonFinite, Oscillation, OutOfRange, Shift, Spike, Stall
from homeostat.laws import Law
from homeostat.loop import AnyLoop
from homeostat.observers import (
    DeadUnits,
    GradientNorm,
    Loss,
    LossPeak,
    Observer,
    ParameterNorm,
    ProposedUpdateRatio,
    RunningVariance,
)
from tests.contracts.test_laws import EXAMPLES
from tests.training import Training, every_loop

STEPS = 54
SEEDS = (17, 18, 19)


class Faults(NamedTuple):
    """What happens to a run, with and without a rollback before the moment of the kill and after it.

    Attributes:
        nan: batches, by their place in the data, whose loss is no number.
        large: batches with gradients a thousand times too large.
        strange: batches for which the user reports that they are.
        spoilt: steps, counted as time goes on, before which a weight is spoilt: that happens once.
    """

    nan: frozenset[int] = frozenset({5, 34})
    large: frozenset[int] = frozenset({7, 36})
    strange: frozenset[int] = frozenset({9, 38})
    spoilt: frozenset[int] = frozenset()


# By how a run goes on. Of two that follow each other the second takes it further back, and its data go on.
FAULTS = {
    "checkpoint": Faults(spoilt=frozenset({19, 21, 48, 50})),
    "snapshot": Faults(spoilt=frozenset({19, 48})),
}


def law_loops() -> list[AnyLoop]:
    """One loop a law, each on dials of its own; the first dial is turned as a loss weight."""
    loops: list[AnyLoop] = []
    for name, law in [(kind.__name__, examples[0]) for kind, examples in EXAMPLES.items()]:
        readings, knobs = law.shape
        loops.append(
            CoupledLoop(
                observers=_observers(name, readings),
                law=law,
                actuators=tuple(_knob(f"spare.{name}.{i}", loss_weight=not loops) for i in range(knobs)),
                setpoints=(3.0,) * readings,
                every=2,
                name=name,
                patience=10_000,
            )
        )
    return loops


# What no loop of the harness reads, by the law that reads it here.
_OTHERS: dict[str, Observer] = {
    "Hold": ProposedUpdateRatio(),
    "Median": LossPeak(),
    "EMA": RunningVariance(),
    "Affine": DeadUnits(),
    "Schedule": ParameterNorm(),
}


def _observers(law: str, count: int) -> tuple[Observer, ...]:
    return (_OTHERS[law],) if law in _OTHERS else tuple(Loss(smoothing=float(i)) for i in range(count))


def _knob(dial: str, *, loss_weight: bool) -> Dial | LossWeight:
    return LossWeight(dials=dial, low=0.1, high=9.0) if loss_weight else Dial(dials=dial, low=-9.0, high=9.0)


# These only look: what they have learned is part of the state.
WATCHING = tuple(
    Guard(Loss(), detector, "alarm", every=2, name=type(detector).__name__)
    for detector in (
        Divergence(window=4), NonFinite(), Oscillation(), OutOfRange(high=99.0), Shift(), Spike(fewest=4),
        Stall(ticks=9),
    )
)  # fmt: skip
ACTING = (
    Guard(Loss(), NonFinite(), "skip"),
    Guard(GradientNorm(), Spike(fewest=4), "cut", every=1),
    Guard(Loss(metric="strange"), OutOfRange(high=0.5), "reset"),
)


def controller(folder: Path) -> Homeostat:
    """One with every part, which keeps its snapshots in memory and below `folder`."""
    return Homeostat(
        [*every_loop(every=4), *law_loops()],
        guards=[*WATCHING, *ACTING],
        # Mild answers never use it up; two rollbacks within three ticks are one incident.
        ladder=Ladder(patience=99, batches=99, calm=3),
        snapshots=SnapshotPolicy(every=3, probation=1, directory=folder / "snapshots", disk_every=3),
        report_every=3,
    )


class Whole(Training):
    """The harness's training with a spare dial for every knob of every law, a guard for every detector, and faults."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        super().__init__()
        self.folder, self.faults = folder, faults
        # Steps that were begun, those that were taken back included.
        self.moment = 0
        self.model.spare = nn.ModuleDict()
        for kind, examples in EXAMPLES.items():
            law: Law = examples[0]
            self.model.spare[kind.__name__] = nn.ModuleList(hnn.Dial(1.0) for _ in range(law.shape[1]))
        self.model.spare.eval()

    def begin(self) -> Homeostat:
        self.homeostat = controller(self.folder)
        self.homeostat.attach(self.model, self.optimizer, restores=(self,))
        for dial in hnn.dials(self.model.spare).values():
            # Nothing reads these, and that is no alarm here.
            dial.watching = False
            dial.reads = 1
        return self.homeostat

    def __iter__(self) -> Iterator[int]:
        """Take a step for each batch: a run that can be iterated over is its own data, which go back with it."""
        while self.steps < STEPS:
            self.moment += 1
            self.run(1)
            yield self.moment

    def loss(self) -> Tensor:
        if self.moment in self.faults.spoilt:
            with torch.no_grad():
                self.model.rotation[0, 0] = math.nan
        loss = super().loss()
        if self.steps in self.faults.large:
            loss.register_hook(lambda gradient: 1e3 * gradient)
        assert self.homeostat is not None
        self.homeostat.observe(strange=self.steps in self.faults.strange)
        return loss * (math.nan if self.steps in self.faults.nan else 1.0)

    def state_dict(self) -> dict[str, int]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.steps = state["steps"]

    def save(self) -> None:
        assert self.homeostat is not None
        saved = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "homeostat": self.homeostat.state_dict(),
            "steps": self.steps,
            "moment": self.moment,
            "losses": self.losses,
        }
        torch.save(saved, self.folder / "new.pt")
        (self.folder / "new.pt").replace(self.folder / "state.pt")

    def resume(self, *, snapshot: bool) -> None:
        """Go on from what was saved after the last step, or from the newest snapshot; time has gone on either way."""
        assert self.homeostat is not None
        saved: dict[str, Any] = torch.load(self.folder / "state.pt", weights_only=True)
        self.moment = saved["moment"]
        if snapshot:
            # A snapshot is the end of the optimizer's step, which the loop's own end follows. Killed before the first
            # is on disk, the run begins anew.
            if self.homeostat.resume():
                self.steps += 1
        else:
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.homeostat.load_state_dict(saved["homeostat"])
            self.steps, self.losses = saved["steps"], saved["losses"]

    def seen(self) -> dict[str, Any]:
        """What two runs are compared by; numbers that may be NaN as text."""
        assert self.homeostat is not None
        trace = self.homeostat.trace
        state = self.homeostat.state_dict()
        return {
            "losses": repr(self.losses),
            "knobs": self.homeostat.knobs,
            "weights": self.state(),
            "answering": state["guards"].pop("answering"),
            "homeostat": repr(state),
            "records": {name: [(r.tick, repr(r)) for r in trace.records(name, trace.capacity)] for name in trace.loops},
            "metric": repr(trace.metric("loss")["value"].tolist()),
            "found": [(i.tick, i.guard, i.answer, i.back_to, i.replayed) for i in trace.interventions],
        }


def train(run: Whole, *, snapshot: bool = False, told: Callable[[int], None] | None = None) -> None:
    """Train to the end, from wherever an earlier life has come to; leaves what it ends with in the folder.

    Only a run that is to be killed, one that is told of, saves its steps: half of what a step takes.
    """
    torch.set_num_threads(1)
    homeostat = run.begin()
    if (run.folder / "state.pt").exists():
        run.resume(snapshot=snapshot)
    begun = (homeostat.tick, run.moment)
    for moment in run:
        if told is not None:
            run.save()
            told(moment)
    end = {**run.seen(), "begun": begun}
    homeostat.detach()
    torch.save(end, run.folder / "end.pt")


def live(run: Callable[[], Whole], *, snapshot: bool, last: int | None = None) -> None:
    """Train in a child, which is killed soon after it has saved the step numbered `last`, if that is given."""
    reading, writing = os.pipe()

    def told(moment: int) -> None:
        os.write(writing, b"%d\n" % moment)
        if last is not None and moment == last + 3:
            # A slow parent must not find the run at its next fault.
            signal.pause()

    child = os.fork()
    if child == 0:
        try:
            train(run(), snapshot=snapshot, told=None if last is None else told)
        # Whatever ends the child ends it here: it must not go on as its parent.
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as lines:
        for line in lines:
            if last is not None and int(line) >= last:
                os.kill(child, signal.SIGKILL)
                break
    status = os.waitpid(child, 0)[1]
    ended = os.WTERMSIG(status) == signal.SIGKILL if last is not None else status == 0
    assert ended, f"a child ended with status {status}"


def main(folder: Path) -> None:
    """Train as a whole; and in three lives, by checkpoints and by snapshots, once a seed."""
    # A run that goes back and takes the same steps again ends like one that nothing spoils.
    for how, faults in (("checkpoint", FAULTS["checkpoint"]), ("snapshot", Faults())):
        (folder / how).mkdir()
        train(Whole(folder / how, faults))
    for how, seed in product(FAULTS, SEEDS):
        cut, chance = folder / f"{how} {seed}", random.Random(seed)
        cut.mkdir()
        # Among the first faults; and after each kind, with time for snapshots before the next takes the run back.
        for last in (chance.randint(1, 6), chance.randint(25, 28), None):
            live(partial(Whole, cut, FAULTS[how]), snapshot=how == "snapshot", last=last)


if __name__ == "__main__":
    # Laws meet a plant they were not made for: some stand at a limit.
    warnings.simplefilter("ignore", HomeostatWarning)
    main(Path(sys.argv[1]))
