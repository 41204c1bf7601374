"""Loops that rest while their knobs keep still."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from homeostat import Homeostat, Loop
from homeostat.actuators import ClipNorm, LearningRate
from homeostat.laws import PID, Hold
from homeostat.observers import Loss
from homeostat.pace import Pace, Rest

REST = Rest(every=20, after=30, within=0.2)


def paces(pace, positions, tick=0):
    """Return the cadence after each decision, and the tick that follows the last."""
    found = []
    for position in positions:
        pace.heed(tick, None if position is None else (position,))
        found.append(pace.every)
        tick += pace.every
    return found, tick


def test_it_rests_once_the_knob_has_kept_still_and_wakes_when_it_moves():
    pace = Pace(5, REST)
    # Still from tick 10 on, where it first stands within 0.2 of where it ends; a slow drift is judged from there.
    assert paces(pace, [0.0, 1.0, 1.5, 1.6, 1.4, 1.5, 1.6, 1.6, 1.65, 1.68, 1.75])[0] == [5] * 8 + [20, 20, 5]


def test_a_held_decision_wakes_it():
    pace = Pace(5, REST)
    found, tick = paces(pace, [0.0] * 8)
    assert found[-1] == 20
    assert paces(pace, [None, 0.0], tick)[0] == [5, 5]


def test_without_a_rest_it_never_slows():
    assert paces(Pace(5), [0.0] * 50)[0] == [5] * 50


def test_only_what_the_rest_has_added_counts_as_slept():
    pace = Pace(5, REST)
    assert pace.slept(100) == 0
    paces(pace, [0.0] * 8)
    # A rare reading (every 100 ticks, say) is not of the rest's making, and an early one owes nothing to it.
    assert (pace.slept(20), pace.slept(100), pace.slept(3)) == (15, 15, 0)


@pytest.mark.parametrize("decisions", range(0, 12, 3))
def test_it_goes_on_from_its_saved_state(decisions):
    positions = [0.0] * 4 + [0.5] * 9 + [1.0] * 3
    whole, resumed = Pace(5, REST), Pace(5, REST)
    _, tick = paces(whole, positions[:decisions])
    resumed.load(whole.save())
    assert resumed.every == whole.every
    assert paces(resumed, positions[decisions:], tick) == paces(whole, positions[decisions:], tick)


def test_a_rest_between_the_loops_own_ticks_is_refused():
    with pytest.raises(ValidationError, match=r"rest\.every must be a multiple of every; got 20 and 3"):
        Loop(Loss(), Hold(), ClipNorm(), every=3, rest=REST)


def test_only_fixed_and_equal_paces_share_a_sensor():
    assert Pace(5).shares(Pace(5))
    assert not Pace(5).shares(Pace(6))
    assert not Pace(5, REST).shares(Pace(5, REST))


def test_a_loop_without_readings_rests_and_wakes_when_one_moves_its_knob():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rest = Rest(every=20, after=10)
    law = PID(gain=1.0, integral_time=None)
    loop = Loop(Loss(metric="rare"), law, LearningRate(), setpoint=0.0, every=5, rest=rest, name="rare")
    homeostat = Homeostat([loop]).attach(model, optimizer)
    pace = homeostat._engine.runner("rare").pace
    found = []
    for step in range(70):
        if step == 35:
            homeostat.observe(rare=1.0)
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        found.append(pace.every)
    homeostat.detach()
    # The reading waits until tick 40; still from there, it rests again.
    assert [found.index(20), found.index(5, 20), found.index(20, 45)] == [10, 40, 50]
