"""A running `Homeostat` tests its plant, and tunes itself, within a stated authority."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from homeostat import Loop, tune
from homeostat.actuators import LearningRate
from homeostat.analysis import Recording
from homeostat.laws import AutoTune, Law, RelayTest, StepTest
from homeostat.observers import UpdateRatio
from tests.training import Training

TEST = RelayTest(amplitude=0.4, longest=120)


def loop(law: Law) -> Loop:
    return Loop(UpdateRatio(), law, LearningRate(low=0.01, high=100), setpoint=0.02, every=2, name="rate")


@pytest.mark.parametrize("law", [TEST, StepTest(amplitude=0.4, hold=20)], ids=["relay", "step"])
def test_a_running_loop_shows_its_plant_and_gives_the_knob_back(law):
    training = Training()
    homeostat = training.attach([loop(law)])
    training.run(140)
    columns = homeostat.trace.loop("rate")
    factors = columns["delivered.0"]
    assert factors.max() == pytest.approx(math.exp(0.4))
    assert factors.min() >= math.exp(-0.2) - 1e-12
    assert factors[-1] == pytest.approx(1.0)
    found = tune(Recording.from_columns(columns, scale="log", log_reading=True), log_error=True)
    # The size of an update follows the learning rate in proportion: 1 per factor e, up to the moments' noise.
    assert found.fit.model.gain == pytest.approx(1.0, abs=0.3)
    assert found.law.gain > 0


def test_it_tunes_itself_online_and_resumes_in_the_middle_of_the_test(tmp_path):
    law = AutoTune(test=TEST, log_error=True)
    whole = Training()
    trace = whole.attach([loop(law)]).trace
    whole.run(30)
    saved = json.dumps(whole.homeostat.state_dict())
    weights = {name: value.clone() for name, value in whole.model.state_dict().items()}
    moments = whole.optimizer.state_dict()
    file = tmp_path / "optimizer.pt"
    import torch

    torch.save(moments, file)
    whole.run(170)
    resumed = Training()
    resumed.model.load_state_dict(weights)
    resumed.optimizer.load_state_dict(torch.load(file))
    resumed.steps = 30
    other = resumed.attach([loop(law)])
    other.load_state_dict(json.loads(saved))
    resumed.run(170)
    columns = trace.loop("rate")
    mine = other.trace.loop("rate")["command.0"]
    np.testing.assert_array_equal(mine, columns["command.0"][-len(mine) :])
    assert columns["term.gain"][-1] > 0
    readings = columns["reading.0"][-20:]
    assert np.exp(np.log(readings).mean()) == pytest.approx(0.02, rel=0.1)
