"""One of the processes that `test_shards` starts: sharded parameters, checkpoints, groups; writes what it saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import nn
from torch.distributed import checkpoint
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW

from homeostat import DivergenceError, Homeostat, Loop
from homeostat import nn as hnn
from homeostat.actuators import ClipNorm, Dial, LearningRate, RotaryBase, UpdateLimit
from homeostat.laws import PID, Hold
from homeostat.loop import AnyLoop
from homeostat.observers import EffectiveRank, GradientNorm, Loss, OrthogonalityDrift, UpdateRatio
from tests.system import parts
from tests.system.processes import serve
from tests.training import Training, adamw

STEPS = 8


class Net(nn.Module):
    """Three rows over two ranks are uneven shards, one row leaves a rank an empty one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(8, 3), nn.Linear(3, 1)
        self.gain, self.rotary_base = hnn.Dial(1.0), hnn.Dial(100.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.first(x))) * self.gain() * self.rotary_base() / 100


def loops() -> list[AnyLoop]:
    law, gain = PID(gain=0.5, integral_time=20.0), Dial(dials="*gain", low=0.1, high=9.0)
    return [
        Loop(Loss(), law, LearningRate(low=0.01, high=100), setpoint=0.5, every=2),
        Loop(GradientNorm(), Hold(), ClipNorm(start=0.5), every=1),
        Loop(OrthogonalityDrift(parameters="*first.weight"), Hold(), UpdateLimit(start=0.02), every=3),
        Loop(EffectiveRank(parameters="*first.weight"), law, gain, setpoint=2.0, every=3),
        Loop(UpdateRatio(), Hold(), RotaryBase(low=10, high=1e4), every=2),
    ]


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
    seen = {"sharded": sharded(folder), "alone": alone(groups[rank]), "diverging": diverging(), "parts": every_part()}
    (folder / f"{rank}.json").write_text(json.dumps(seen).replace("NaN", "null"))


if __name__ == "__main__":
    serve(main)
