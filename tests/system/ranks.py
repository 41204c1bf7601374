"""One of the processes that `test_distributed` starts; writes what it saw to a file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW

from homeostat import Homeostat, Loop
from homeostat import nn as hnn
from homeostat.actuators import Dropout, LearningRate, UpdateLimit
from homeostat.laws import PID
from homeostat.loop import AnyLoop
from homeostat.observers import GeneralizationGap, Loss, UpdateRatio
from homeostat.sinks import JsonLines
from tests.system.processes import serve

STEPS = 12
NAN_AT = 6


def loops() -> list[AnyLoop]:
    return [
        Loop(Loss(), PID(gain=0.5, integral_time=20.0), LearningRate(low=0.01, high=100), setpoint=0.5, every=1),
        Loop(UpdateRatio(), PID(gain=0.1, integral_time=20.0), UpdateLimit(start=0.05), setpoint=1e-2, every=3),
        Loop(GeneralizationGap(), PID(gain=0.1, integral_time=20.0), Dropout(), setpoint=0.0, every=1),
    ]


def main(rank: int, folder: Path) -> None:
    torch.manual_seed(0)
    bare = nn.Sequential(nn.Linear(8, 16), hnn.Dropout(0.1), nn.ReLU(), nn.Linear(16, 1))
    model = DistributedDataParallel(bare)
    optimizer = AdamW(model.parameters(), lr=1e-2)
    sinks = [JsonLines(folder / "trace.jsonl")]
    homeostat = Homeostat(loops(), report_every=2, sinks=sinks).attach(model, optimizer)
    generator = torch.Generator().manual_seed(rank)
    losses: list[float] = []

    def step(number: int) -> None:
        x = torch.randn(16, 8, generator=generator)
        loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        losses.append(loss.item())
        homeostat.observe(loss=math.nan if number == NAN_AT and rank == 1 else loss)
        if rank == 0 and number % 4 == 2:
            homeostat.observe(validation_loss=1.0 + number, only_here=1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for number in range(STEPS):
        step(number)
    trace = homeostat.trace
    seen = {
        "loops": {name: {k: v.tolist() for k, v in trace.loop(name).items()} for name in trace.loops},
        "metrics": trace.metrics,
        "losses": losses[:],
        "weights": [p.detach().flatten().tolist() for p in bare.parameters()],
    }
    state = homeostat.state_dict()
    homeostat.detach()
    sinks = [JsonLines(folder / "trace.jsonl")]
    homeostat = Homeostat(loops(), report_every=2, sinks=sinks).attach(model, optimizer)
    homeostat.load_state_dict(state)
    for number in range(STEPS, STEPS + 5):
        step(number)
    seen["resumed"] = homeostat.trace.loop("learning_rate")["delivered.0"].tolist()
    # A missing reading is NaN, which JSON can say and equality cannot.
    text = json.dumps(seen).replace("NaN", "null")
    (folder / f"{rank}.json").write_text(text)
    homeostat.detach()


if __name__ == "__main__":
    serve(main)
