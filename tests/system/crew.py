"""Four ranks that `test_four_ranks` starts once: every way of sharing a model, and ranks that are slow or run out."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed import checkpoint
from torch.distributed.algorithms.join import Join
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW
from torch.utils._python_dispatch import TorchDispatchMode

from homeostat import Homeostat, HomeostatError, Loop
from homeostat.actuators import Dial, LearningRate, RotaryBase
from homeostat.guards import Guard, SnapshotPolicy
from homeostat.guards.detector import Detector
from homeostat.guards.detectors import NonFinite, OutOfRange
from homeostat.laws import Hold
from homeostat.loop import AnyLoop
from homeostat.norms import gathered, local
from homeostat.observers import GradientNorm, Loss, Observer, UpdateRatio
from tests.system.processes import serve
from tests.system.small_net import Net, loops

STEPS = 10
NAN_AT = 4
FAULT_AT = 7
# The newest multiple of the snapshots' cadence that a probation of one tick leaves.
EVERY = 3
GOOD_AT = (FAULT_AT - 1) // EVERY * EVERY
# Steps before a checkpoint that another number of ranks loads, and after it.
HALF = 6

NOT_FINITE = NonFinite()


class Collectives(TorchDispatchMode):
    """Counts what goes over the wire."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # What waits for one or wraps its result sends nothing.
        silent = "wait" in func.name() or "wrap" in func.name()
        self.count += func.namespace in {"c10d", "_c10d_functional"} and not silent
        return func(*args, **(kwargs or {}))


def ddp(model: nn.Module, group: dist.ProcessGroup | None = None) -> nn.Module:
    return DistributedDataParallel(model, process_group=group)


def fsdp(model: nn.Module) -> nn.Module:
    fully_shard(model, mesh=init_device_mesh("cpu", (4,)))
    return model


def hsdp(model: nn.Module) -> nn.Module:
    """Two replicas of two shards each."""
    fully_shard(model, mesh=init_device_mesh("cpu", (2, 2), mesh_dim_names=("replica", "shard")))
    return model


class Run:
    """One model under a controller, on batches of this rank's own, or of `seed`."""

    def __init__(
        self,
        share: Callable[[nn.Module], nn.Module],
        parts: Sequence[AnyLoop],
        group: dist.ProcessGroup | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        self.bare = Net()
        self.model = share(self.bare)
        self.optimizer = AdamW(self.model.parameters(), lr=0.05)
        self.homeostat = Homeostat(parts, **options).attach(self.model, self.optimizer, process_group=group)
        self.generator = torch.Generator().manual_seed(dist.get_rank() if seed is None else seed)

    def backward(self, factor: float = 1.0) -> Tensor:
        x = torch.randn(16, 8, generator=self.generator)
        loss = (self.model(x) - x.sum(1, keepdim=True)).square().mean() * factor
        loss.backward()
        return loss

    def step(self, factor: float = 1.0) -> None:
        self.homeostat.observe(loss=self.backward(factor))
        self.optimizer.step()
        self.optimizer.zero_grad()

    def run(self, *, late: bool = False) -> dict[str, Any]:
        """Run with one rank fed a NaN, and one late for two steps by far more than a step takes."""
        for number in range(STEPS):
            if late and dist.get_rank() == 2 and number in {1, 5}:
                time.sleep(0.2)
            # Only the number that is reported: no rank's weights are hurt.
            loss = self.backward()
            self.homeostat.observe(loss=math.nan if number == NAN_AT and dist.get_rank() == 1 else loss)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return self.seen()

    def seen(self) -> dict[str, Any]:
        trace = self.homeostat.trace
        columns = {name: trace.loop(name) for name in trace.loops}
        with torch.no_grad():
            weights = [gathered(p.detach()).flatten().tolist() for p in self.bare.parameters()]
        return {
            "tick": self.homeostat.tick,
            "loops": {name: {k: v.tolist() for k, v in column.items()} for name, column in columns.items()},
            "dial": self.bare.gain.value,
            "weights": weights,
        }


def guarded(
    share: Callable[[nn.Module], nn.Module],
    group: dist.ProcessGroup | None = None,
    detector: Detector = NOT_FINITE,
    factor: float = math.nan,
) -> dict[str, Any]:
    """A loss on one rank, and with it every gradient, is no number or too large; what each has then, by shard."""
    guard = Guard(Loss(), detector, "rollback", every=1)
    policy = SnapshotPolicy(every=EVERY, probation=1)
    run = Run(share, loops(), group, guards=[guard], snapshots=policy)
    shards = []
    for number in range(STEPS):
        run.step(factor if number == FAULT_AT and dist.get_rank() == 1 else 1.0)
        shards.append([local(p.detach()).flatten().tolist() for p in run.bare.parameters()])
    found = [(i.tick, i.answer, i.back_to) for i in run.homeostat.trace.interventions]
    return {**run.seen(), "shards": shards, "found": found}


def uneven() -> dict[str, Any]:
    """Rank r has 6 + 2 r batches, of which every other is accumulated."""
    run = Run(ddp, loops())
    micro = 0
    with Join([run.model, run.homeostat]):
        for _ in range(3 + dist.get_rank()):
            with run.model.no_sync():
                run.backward()
            micro += 1
            run.step()
    return {**run.seen(), "steps": micro}


def refused() -> list[str]:
    """What is said of a Join without the controller, and of one that begins with it."""
    run = Run(ddp, loops())
    said = []
    for members in ([run.model], [run.homeostat, run.model]):
        try:
            with Join(members):
                run.step()
        except HomeostatError as error:
            said.append(str(error))
    return said


def watching(*observers: Observer) -> list[AnyLoop]:
    """Loops that read and never move anything."""
    knobs = [LearningRate(), Dial(dials="*gain", low=0.1, high=9.0), RotaryBase(low=10, high=1e4)]
    return [Loop(o, Hold(), knob, every=3) for o, knob in zip(observers, knobs, strict=False)]


def collectives(share: Callable[[nn.Module], nn.Module], *observers: Observer) -> list[int]:
    """Return how many collectives a controller adds to each of seven steps."""

    def count(parts: Sequence[AnyLoop]) -> list[int]:
        run = Run(share, parts)
        counts = []
        # The first step sets up more than the others.
        for _ in range(8):
            with Collectives() as mode:
                run.step()
            counts.append(mode.count)
        return counts[1:]

    return [a - b for a, b in zip(count(watching(*observers)), count([]), strict=True)]


def counted() -> dict[str, list[int]]:
    return {
        "ddp": collectives(ddp, Loss(), UpdateRatio(), GradientNorm()),
        "fsdp": collectives(fsdp, Loss(), UpdateRatio()),
        "fsdp with a norm": collectives(fsdp, Loss(), UpdateRatio(), GradientNorm()),
    }


def halves(groups: Sequence[dist.ProcessGroup]) -> dict[str, Any]:
    """Two groups of two train a model each."""
    group = groups[dist.get_rank() // 2]
    return Run(partial(ddp, group=group), loops(), group).run()


def another_world(group: dist.ProcessGroup, folder: Path) -> list[dict[str, Any]]:
    """Four ranks save and go on; two load what four have saved and go on as well, all on the same batches."""
    run = Run(fsdp, loops(), seed=0)
    _save_halfway(run, folder / "four")
    if dist.get_rank() >= 2:
        return [run.seen()]
    return [run.seen(), _go_on(Run(partial(two, group=group), loops(), group, seed=0), folder / "four", group)]


def grown_world(group: dist.ProcessGroup, folder: Path) -> list[dict[str, Any]]:
    """Two ranks save and go on; four load what two have saved and go on as well; the two come last."""
    seen = []
    if dist.get_rank() < 2:
        fewer = Run(partial(two, group=group), loops(), group, seed=0)
        _save_halfway(fewer, folder / "two", group)
        seen.append(fewer.seen())
    dist.barrier()
    return [_go_on(Run(fsdp, loops(), seed=0), folder / "two"), *seen]


def two(model: nn.Module, group: dist.ProcessGroup) -> nn.Module:
    """Shards on the first two ranks, which are this group."""
    fully_shard(model, mesh=DeviceMesh.from_group(group, "cpu", mesh=[0, 1]))
    return model


def _save_halfway(run: Run, folder: Path, group: dist.ProcessGroup | None = None) -> None:
    for number in range(2 * HALF):
        if number == HALF:
            checkpoint.save(_states(run), checkpoint_id=folder, process_group=group)
        run.step()


def _go_on(run: Run, folder: Path, group: dist.ProcessGroup | None = None) -> dict[str, Any]:
    states = _states(run)
    checkpoint.load(states, checkpoint_id=folder, process_group=group)
    set_state_dict(run.model, run.optimizer, model_state_dict=states["model"], optim_state_dict=states["optimizer"])
    for number in range(2 * HALF):
        if number < HALF:
            torch.randn(16, 8, generator=run.generator)
        else:
            run.step()
    return run.seen()


def _states(run: Run) -> dict[str, Any]:
    model, optimizer = get_state_dict(run.model, run.optimizer)
    return {"model": model, "optimizer": optimizer, "homeostat": run.homeostat}


def main(rank: int, folder: Path) -> None:
    groups = [dist.new_group([0, 1]), dist.new_group([2, 3])]
    seen = {
        "ddp": Run(ddp, loops()).run(),
        "late": Run(ddp, loops()).run(late=True),
        "hsdp": Run(hsdp, loops()).run(late=True),
        "halves": halves(groups),
        "guarded": guarded(ddp),
        "guarded shards": guarded(fsdp),
        # About 50 on one rank and 19 in the mean: what one rank finds, all answer.
        "guarded against one": guarded(ddp, None, OutOfRange(high=25.0), 6.0),
        "guarded halves": guarded(partial(ddp, group=groups[rank // 2]), groups[rank // 2]),
        "uneven": uneven(),
        "refused": refused(),
        "counted": counted(),
        "worlds": another_world(groups[0], folder),
        "grown": grown_world(groups[0], folder),
    }
    (folder / f"{rank}.json").write_text(json.dumps(seen).replace("NaN", "null"))


if __name__ == "__main__":
    serve(main)
