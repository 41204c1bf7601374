"""A running `Homeostat` tests its plant, and tunes itself, within a stated authority."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch

from homeostat import Loop, tune
from homeostat.actuators import LearningRate
from homeostat.analysis import Recording
from homeostat.laws import AutoTune, Law, RelayTest, StepTest
from homeostat.observers import UpdateRatio
from tests.training import Training


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def loop(law: Law) -> Loop:
    return Loop(UpdateRatio(), law, LearningRate(low=0.01, high=100), setpoint=0.01, every=2, name="rate")


def test_a_running_loop_shows_its_plant_and_gives_the_knob_back():
    training = Training()
    training.run(60)
    homeostat = training.attach([loop(StepTest(amplitude=1.0, hold=30))])
    training.run(100)
    columns = homeostat.trace.loop("rate")
    assert set(columns["delivered.0"].round(6)) == {1.0, round(math.e, 6)}
    assert columns["delivered.0"][-1] == 1.0
    found = tune(Recording.from_columns(columns, scale="log", log_reading=True), rule="lambda", log_error=True)
    # The size of an update is proportional to the learning rate.
    low, high = found.fit.intervals["gain"]
    assert low < 1.0 < high
    assert found.model.gain == pytest.approx(1.0, abs=0.2)
    assert found.every == 2
    assert found.law.gain > 0


def test_it_tunes_itself_online_also_when_resumed_in_the_middle_of_the_test():
    law = AutoTune(test=RelayTest(amplitude=1.0, hysteresis=0.3, periods=8, longest=120), rule="simc", log_error=True)
    whole = Training(sgd)
    whole.run(30)
    homeostat = whole.attach([loop(law)])
    whole.run(50)
    saved = json.dumps(homeostat.state_dict())
    model, moments = copy.deepcopy(whole.model.state_dict()), copy.deepcopy(whole.optimizer.state_dict())
    whole.run(120)
    columns = homeostat.trace.loop("rate")
    homeostat.detach()

    resumed = Training(sgd)
    resumed.model.load_state_dict(model)
    resumed.optimizer.load_state_dict(moments)
    resumed.steps = 80
    other = resumed.attach([loop(law)])
    other.load_state_dict(json.loads(saved))
    resumed.run(120)
    again = other.trace.loop("rate")
    np.testing.assert_array_equal(again["command.0"], columns["command.0"][-len(again["command.0"]) :])

    testing = columns["term.testing"] == 1
    assert columns["command.0"][testing].max() <= math.e * (1 + 1e-9)
    assert again["term.testing"][0] == 1
    assert columns["term.gain"][-1] > 0
    # Updates of one batch each are noisy; their middle is where it was wanted.
    assert np.median(columns["reading.0"][-20:]) == pytest.approx(0.01, rel=0.25)
