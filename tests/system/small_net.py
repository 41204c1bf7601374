"""The network and the loops of the tests of several ranks."""

from __future__ import annotations

import torch
from torch import nn

from homeostat import Loop
from homeostat import nn as hnn
from homeostat.actuators import ClipNorm, Dial, LearningRate, RotaryBase, UpdateLimit
from homeostat.laws import PID, Hold
from homeostat.loop import AnyLoop
from homeostat.observers import EffectiveRank, GradientNorm, Loss, OrthogonalityDrift, UpdateRatio


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
