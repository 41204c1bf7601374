"""A run with every part of the library, saved after every step; `test_killed` kills it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from homeostat import CoupledLoop, Homeostat
from homeostat import nn as hnn
from homeostat.actuators import Dial, LossWeight
from homeostat.guards import Guard
from homeostat.guards.detectors import Divergence, NonFinite, Oscillation, OutOfRange, Shift, Spike, Stall
from homeostat.laws import Law
from homeostat.loop import AnyLoop
from homeostat.observers import (
    DeadUnits,
    Loss,
    LossPeak,
    Observer,
    ParameterNorm,
    ProposedUpdateRatio,
    RunningVariance,
)
from tests.contracts.test_laws import EXAMPLES
from tests.training import Training, every_loop

STEPS = 24


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


# They only look: what they have learned is part of the state.
GUARDS = tuple(
    Guard(Loss(), detector, "alarm", every=2, name=type(detector).__name__)
    for detector in (
        Divergence(window=4), NonFinite(), Oscillation(), OutOfRange(high=99.0), Shift(), Spike(fewest=4),
        Stall(ticks=9),
    )
)  # fmt: skip


class Whole(Training):
    """The harness's training with a spare dial for every knob of every law, and a guard for every detector."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.model.spare = nn.ModuleDict()
        for kind, examples in EXAMPLES.items():
            law: Law = examples[0]
            self.model.spare[kind.__name__] = nn.ModuleList(hnn.Dial(1.0) for _ in range(law.shape[1]))
        self.model.spare.eval()

    def begin(self) -> Homeostat:
        homeostat = self.attach([*every_loop(every=4), *law_loops()], guards=GUARDS, report_every=3)
        for dial in hnn.dials(self.model.spare).values():
            # Nothing reads these, and that is no alarm here.
            dial.watching = False
            dial.reads = 1
        return homeostat

    def saved(self) -> dict[str, Any]:
        assert self.homeostat is not None
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "homeostat": self.homeostat.state_dict(),
            "steps": self.steps,
            "losses": self.losses,
        }

    def resume(self, saved: dict[str, Any]) -> None:
        assert self.homeostat is not None
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.homeostat.load_state_dict(saved["homeostat"])
        self.steps, self.losses = saved["steps"], saved["losses"]


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    training = Whole()
    training.begin()
    for _ in range(STEPS):
        training.run(1)
        torch.save(training.saved(), folder / "new.pt")
        (folder / "new.pt").replace(folder / "state.pt")
        print(training.steps, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
