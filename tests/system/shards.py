"""One of the processes that `test_shards` starts: sharded parameters, checkpoints, groups; writes what it saw."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import nn
from torch.distributed import checkpoint
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW

from homeostat import DivergenceError, Homeostat, HomeostatWarning, Loop
from homeostat.actuators import LearningRate
from homeostat.guards.snapshot import SnapshotPolicy, Snapshots
from homeostat.laws import Hold
from homeostat.observers import DeadUnits, Loss, LossPeak, ParameterNorm
from homeostat.plant import Plant
from homeostat.sensing import Senses
from tests.system import parts
from tests.system.processes import serve
from tests.system.small_net import Net, loops
from tests.training import Training, adamw

STEPS = 8


def train(model: nn.Module, homeostat: Homeostat, optimizer: AdamW, steps: int = STEPS) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(16, 8, generator=generator)
        loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        homeostat.observe(loss=loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    trace = homeostat.trace
    return {
        "readings": {name: trace.loop(name)["reading.0"].tolist() for name in trace.loops},
        "delivered": {name: trace.loop(name)["delivered.0"].tolist() for name in trace.loops},
        "weights": [float(p.detach().norm()) if p.numel() else 0.0 for p in model.parameters()],
    }


def sharded(folder: Path, latency: int = 0) -> dict[str, Any]:
    model = Net()
    fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    optimizer = AdamW(model.parameters(), lr=0.05)
    homeostat = Homeostat(loops()).attach(model, optimizer, latency=latency)
    seen = train(model, homeostat, optimizer)
    seen["weights"] = [float(p.detach().full_tensor().norm()) for p in model.parameters()]
    seen["shards"] = [p.to_local().numel() for p in model.parameters()]
    checkpoint.save({"homeostat": homeostat}, checkpoint_id=folder / "checkpoint")
    before = homeostat.state_dict()["loops"]
    homeostat.detach()
    again = Homeostat(loops()).attach(model, optimizer, latency=latency)
    checkpoint.load({"homeostat": again}, checkpoint_id=folder / "checkpoint")
    # What was measured and not yet joined is a rank's own, and one rank's goes to all.
    seen["restored"] = again.state_dict()["loops"] == before
    again.detach()
    return seen


def every_part() -> dict[str, Any]:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    return parts.run(Training(lambda model: adamw(fully_shard(model, mesh=mesh))))


def norms() -> dict[str, list[float]]:
    """The greatest norm of a parameter of the whole model and of its shards, for several layouts."""
    seen = {}
    for layout, part in {"uneven": "first", "on one rank": "last", "partly sharded": "last"}.items():
        model = Net()
        with torch.no_grad():
            model.get_parameter(f"{part}.weight").mul_(100.0)
        found = [_norm(model)]
        plain = {model.first.bias, model.last.weight} if layout == "partly sharded" else None
        fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)), ignored_params=plain)
        seen[layout] = [*found, _norm(model)]
    return seen


def _norm(model: nn.Module) -> float:
    return ParameterNorm().observe(Plant(model, (AdamW(model.parameters()),)), None).item()


def dead() -> dict[str, float]:
    """The share of dead units that this rank reads, with the layers spread over the ranks or not."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    rows, wise = Shard(0), RowwiseParallel()
    plans: dict[str, dict[str, ParallelStyle]] = {
        "units over ranks": {"0": ColwiseParallel(), "2": wise},
        "units of a DTensor": {"0": ColwiseParallel(use_local_output=False), "2": wise},
        "rows of a DTensor": {
            "0": ColwiseParallel(output_layouts=rows, use_local_output=False),
            "2": RowwiseParallel(input_layouts=rows),
        },
    }
    seen = {layout: _dead(parallelize_module(_rectified(), mesh, plan)) for layout, plan in plans.items()}
    return {**seen, "whole": _dead(_rectified()), "shards": _dead(fully_shard(_rectified(), mesh=mesh))}


def _rectified() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4))
    # Far down, so that most units are dead.
    nn.init.constant_(model[0].bias, -0.6)
    return model


def _dead(model: nn.Module) -> float:
    plant, observer = Plant(model, (AdamW(model.parameters()),)), DeadUnits()
    memory = observer.init(plant)
    observer.prepare(plant, memory)
    model(torch.randn(4, 8, generator=torch.Generator().manual_seed(1)))
    reading = observer.observe(plant, memory)
    assert reading is not None
    return reading.item()


def kept(rank: int) -> dict[str, Any]:
    """Snapshots of ranks one of which has room for two of them only."""
    model = Net()
    fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    plant = Plant(model, (AdamW(model.parameters(), lr=0.05),))
    # One takes 15 kB, most of it the state of the random generator.
    policy = SnapshotPolicy(every=1, probation=0, max_bytes=40_000 if rank else None)
    snapshots = Snapshots(policy, plant, group=dist.group.WORLD)
    told = []
    for plant.tick in range(5):
        told.append(snapshots.take({}))
        snapshots.confirm()
    return {"ticks": snapshots.ticks, "told": told}


def begun_twice(folder: Path) -> list[str]:
    """Files after a run of two snapshots and, in the same folder and not resumed, one of one."""
    for ticks in (2, 1):
        model = Net()
        fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
        plant = Plant(model, (AdamW(model.parameters(), lr=0.05),))
        policy = SnapshotPolicy(every=1, probation=0, directory=folder, disk_every=1, disk_keep=2)
        snapshots = Snapshots(policy, plant, group=dist.group.WORLD)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HomeostatWarning)
            for plant.tick in range(1, ticks + 1):
                snapshots.take({})
                snapshots.confirm()
        snapshots.close()
        dist.barrier()
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.pt"))


def peaks(rank: int) -> dict[str, float]:
    """The greatest of losses below 0, of one that a rank alone has, and of one that is no number on one of them."""
    plant = Plant(Net(), (AdamW(Net().parameters()),))
    senses = Senses(plant, dist.group.WORLD, 0)
    metrics = ("both", "one", "broken")
    names = dict(zip(senses.add([LossPeak(metric=name) for name in metrics], 1), metrics, strict=True))
    plant.metrics.observe("both", -1.0 - rank)
    plant.metrics.observe("broken", float("nan") if rank else 1.0)
    if rank == 1:
        plant.metrics.observe("one", -3.0)
    plant.metrics.commit()
    return {names[i]: reading for i, reading in senses.exchange().items()}


def alone(group: dist.ProcessGroup) -> list[float]:
    """Each rank in a group of its own: nothing is joined."""
    model = Net()
    optimizer = AdamW(model.parameters(), lr=0.05)
    homeostat = Homeostat([Loop(Loss(), Hold(), LearningRate(), every=1)]).attach(model, optimizer, process_group=group)
    homeostat.observe(loss=float(dist.get_rank()))
    optimizer.step()
    return homeostat.trace.loop("learning_rate")["reading.0"].tolist()


def diverging() -> dict[str, Any]:
    model = DistributedDataParallel(Net())
    optimizer = AdamW(model.parameters(), lr=0.05)
    homeostat = Homeostat(loops()).attach(model, optimizer)
    dials = [name for name, _ in model.module.named_buffers()]
    ignored = sorted(model.parameters_to_ignore)
    train(model, homeostat, optimizer, 3)
    if dist.get_rank() == 1:
        homeostat.override("dial", 5.0)
    said = ""
    try:
        train(model, homeostat, optimizer, 3)
    except DivergenceError as error:
        said = str(error)
    # A forward pass has gone by, and the rank's own value is still there.
    seen = {"said": said, "gain": model.module.gain.value, "tensor": model.module.gain().item()}
    homeostat.detach()
    return {**seen, "dials": dials, "ignored": ignored, "after": sorted(model.parameters_to_ignore)}


def main(rank: int, folder: Path) -> None:
    groups = [dist.new_group([i]) for i in range(2)]
    seen = {
        "sharded": sharded(folder),
        "alone": alone(groups[rank]),
        "diverging": diverging(),
        "parts": every_part(),
        "norms": norms(),
        "dead": dead(),
        "kept": kept(rank),
        "begun twice": begun_twice(folder / "snapshots"),
        "peaks": peaks(rank),
    }
    (folder / f"{rank}.json").write_text(json.dumps(seen).replace("NaN", "null"))


if __name__ == "__main__":
    serve(main)
