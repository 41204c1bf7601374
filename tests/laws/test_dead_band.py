import math

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from homeostat.laws import PID, Chain, DeadBand
from tests.laws.steps import commands, given

BAND = DeadBand(below=2.0, above=1.0, rest=0.5)


def answers(law, readings, setpoint=10.0, elapsed=1):
    out, state = [], law.init()
    for reading in readings:
        (answer,), state, _ = law.update(state, given(reading, setpoint, elapsed=elapsed))
        out.append(answer)
    return out


def test_it_wakes_at_one_distance_and_falls_asleep_at_a_smaller_one():
    readings = [10.9, 8.1, 7.9, 9.4, 9.6, 8.1, 11.1, 10.6, 10.4, 10.9]
    assert answers(BAND, readings) == [10, 10, 7.9, 9.4, 10, 10, 11.1, 10.6, 10, 10]


def test_in_logarithms_the_distances_are_factors():
    law = DeadBand(below=math.log(10), above=math.log(2), rest=math.log(1.5), log=True)
    assert answers(law, [1.1, 0.9, 4.0, 7.0, 19.0, 21.0]) == [10, 0.9, 4.0, 10, 10, 21.0]


@pytest.mark.parametrize("reading", [0.0, -1.0])
def test_what_has_no_logarithm_is_passed_on(reading):
    law = BAND.model_copy(update={"log": True})
    assert answers(law, [reading]) == [reading]


def test_once_settled_a_low_reading_is_no_reason_and_a_high_one_is():
    law = BAND.model_copy(update={"settling": 20})
    assert answers(law, [5.0, 5.0, 5.0, 15.0, 5.0], elapsed=10) == [5.0, 5.0, 10.0, 15.0, 10.0]


@for_all(st.lists(st.floats(8.0, 11.0), min_size=1))
def test_near_the_setpoint_a_controller_behind_it_leaves_the_knob_alone(readings):
    law = Chain(laws=(BAND, PID(gain=3.0, integral_time=5, dead_band=0.01)))
    assert set(commands(law, readings, start=0.7, setpoint=10.0)) == {0.7}


@for_all(st.lists(st.floats(-100, 100), min_size=1), st.floats(-50, 50))
def test_it_answers_with_the_reading_or_the_setpoint_and_never_far_from_the_reading(readings, setpoint):
    for reading, answer in zip(readings, answers(BAND, readings, setpoint), strict=True):
        assert answer in {reading, setpoint}
        assert -BAND.above - 1e-9 <= answer - reading <= BAND.below + 1e-9


@pytest.mark.parametrize("fields", [{"rest": 1.0}, {"below": 0.5}, {"rest": -0.1}, {"above": 0.0}])
def test_a_band_without_a_gap_is_refused(fields):
    with pytest.raises(ValidationError, match=r"DeadBand\.rest must be less|greater than"):
        DeadBand(**{"below": 2.0, "above": 1.0, "rest": 0.5, **fields})
