"""The law tests its plant, tunes itself, and steers; where it cannot, it holds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from homeostat.laws import AutoTune, RelayTest
from homeostat.profile import Profile
from homeostat.simulation import FirstOrder, simulate
from homeostat.state import from_data, to_data
from tests.laws.steps import given

LAW = AutoTune(test=RelayTest(amplitude=0.3))
PLANT = FirstOrder(gain=-2.0, time_constant=15, dead_time=4, noise=0.01)


def follow(law, plant, ticks, cuts=()):
    """Run law on plant by hand; returns decisions, saving and loading the state at the ticks of `cuts`."""
    state, memory, knob, out = law.init(), plant.init(), 0.0, []
    noise = np.random.default_rng(1).standard_normal(ticks).tolist()
    for tick in range(ticks):
        if tick in cuts:
            state = from_data(law.init(), json.loads(json.dumps(to_data(state))))
        decision = law.update(state, given(plant.read(memory, noise[tick]), 1.0, knob, moved=tick == 0))
        (knob,), state = decision.command, decision.state
        memory = plant.step(memory, knob)
        out.append(decision)
    return out


@pytest.mark.parametrize("every", [1, 3])
def test_it_finds_gains_of_the_right_sign_and_settles_on_the_setpoint(every):
    course = Profile(points=((0, 0.0), (400, 1.0)), interpolation="step")
    plant = PLANT.model_copy(update={"noise": 0.0})
    run = simulate(LAW, plant, ticks=700, setpoint=course, every=every)
    # The test swings about the start; the controller then moves the reading by 1 and keeps it there.
    assert np.abs(run.reading[:400]).max() < 0.6
    np.testing.assert_allclose(run.reading[-100:], 1.0, atol=0.01)
    assert run.reading.max() < 1.35


def test_control_departs_from_where_the_knob_was_without_a_bump():
    decisions = follow(LAW, PLANT, 300)
    first = next(i for i, each in enumerate(decisions) if each.state.gains)
    # Rounding of "admitted - P + P".
    assert decisions[first].command[0] == pytest.approx(0.0, abs=1e-12)
    assert decisions[first].terms["gain"] < 0
    assert decisions[first].state.ticks == ()
    assert abs(decisions[first - 1].command[0]) > 0.1


def test_cut_anywhere_it_goes_on_bit_equally():
    whole = [each.command for each in follow(LAW, PLANT, 200)]
    assert [each.command for each in follow(LAW, PLANT, 200, cuts=(5, 40, 150))] == whole


def test_a_plant_without_effect_is_held_and_refused():
    law = AutoTune(test=RelayTest(amplitude=0.3, longest=60))
    decisions = follow(law, FirstOrder(gain=0.0, noise=1.0), 100)
    assert [each.command for each in decisions[70:]] == [(0.0,)] * 30
    assert decisions[-1].terms == {"refused": 1.0}
    assert decisions[-1].state.gains == ()


def test_a_test_that_was_broken_off_closes_no_loop():
    law = AutoTune(test=RelayTest(amplitude=0.3, low=-0.05, high=0.05))
    decisions = follow(law, PLANT, 100)
    assert any(each.terms.get("aborted") for each in decisions)
    assert [each.command for each in decisions[60:]] == [(0.0,)] * 40
    assert decisions[-1].state.readings == ()


def test_with_log_error_the_test_works_on_logarithms():
    class ExponentialLag(FirstOrder):
        def read(self, state, noise):
            return float(np.exp(super().read(state, noise)))

    law = LAW.model_copy(update={"log_error": True})
    plant = ExponentialLag(gain=2.0, time_constant=15, dead_time=4)
    course = Profile(points=((0, 1.0), (300, 3.0)), interpolation="step")
    run = simulate(law, plant, ticks=600, setpoint=course)
    assert run.reading[-1] == pytest.approx(3.0, rel=1e-3)
    state = law.init()
    assert law.update(state, given(0.0, 1.0, 0.7)).command == (0.7,)
    assert law.update(state, given(0.0, 1.0, 0.7)).state == state


def test_readings_without_logarithm_take_their_time_in_the_recorded_test():
    law = LAW.model_copy(update={"log_error": True})
    state = law.init()
    for i, reading in enumerate([0.0, 1.0, 1.0, 0.0, -1.0, 1.0, 1.0]):
        state = law.update(state, given(reading, 1.0, 0.7, moved=i == 0, elapsed=2)).state
    assert np.diff(state.ticks).tolist() == [2.0, 6.0, 2.0]
    assert state.test.ticks == 10
