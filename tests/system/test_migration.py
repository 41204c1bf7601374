"""States that older versions wrote: real ones, kept under `states`, each of 13 ticks of the run below."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from homeostat import Homeostat, Loop
from homeostat.actuators import ClipNorm, LearningRate, UpdateLimit
from homeostat.guards import Guard
from homeostat.guards.detectors import NonFinite, Spike
from homeostat.laws import PID, Affine, Chain, Hold, Median
from homeostat.observers import GradientNorm, Loss, UpdateRatio
from homeostat.state import VERSION

STATES = Path(__file__).parent / "states"
OLDER = range(1, VERSION)


class Run:
    """The run; guards came with version 3."""

    def __init__(self, version: int) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        rate = PID(gain=0.1, integral_time=10.0, log_error=True)
        clip = Chain(laws=(Median(window=3), Affine(offset=0.5)))
        loops = [
            Loop(UpdateRatio(), rate, LearningRate(), setpoint=1e-2, every=3),
            Loop(GradientNorm(log=True), clip, ClipNorm(), every=4),
            Loop(UpdateRatio(), Hold(), UpdateLimit(start=0.5), every=3),
        ]
        guards = [Guard(Loss(), NonFinite()), Guard(Loss(), Spike(fewest=5), every=2)] if version >= 3 else []
        self.homeostat = Homeostat(loops, guards=guards).attach(self.model, self.optimizer)

    def train(self, steps: int) -> None:
        for _ in range(steps):
            x = torch.randn(16, 6)
            loss = F.cross_entropy(self.model(x), (x[:, 0] > 0).long())
            self.homeostat.observe(loss=loss)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()


def test_there_is_a_state_of_every_older_version():
    assert sorted(path.name for path in STATES.iterdir()) == [f"version_{version}.json" for version in OLDER]


@pytest.mark.parametrize("version", OLDER)
def test_a_state_that_an_older_version_wrote_is_taken_over_and_goes_on(version):
    saved = json.loads((STATES / f"version_{version}.json").read_text(encoding="utf-8"))
    assert saved["state"]["version"] == version
    run = Run(version)
    run.homeostat.load_state_dict(saved["state"])
    assert run.homeostat.tick == 13
    assert run.homeostat.knobs == {name: tuple(values) for name, values in saved["knobs"].items()}
    now = run.homeostat.state_dict()
    for name, loop in saved["state"]["loops"].items():
        # Memories begin anew; the first version's law had a field less.
        kept = loop.keys() - {"memories", *(["law_state"] if version == 1 else [])}
        assert {key: now["loops"][name][key] for key in kept} == {key: loop[key] for key in kept}
    run.train(12)
    for name in run.homeostat.trace.loops:
        ticks = run.homeostat.trace.loop(name)["tick"].tolist()
        every = 4 if name == "clip_norm" else 3
        assert ticks == [t for t in range(13, 25) if t % every == 0], "decisions keep their beat"
    # The first move departs from where the knob stood.
    rate = run.homeostat.trace.loop("learning_rate")["delivered.0"]
    assert abs(rate[0] / saved["knobs"]["learning_rate"][0] - 1) < 0.5
