from __future__ import annotations

import pytest
from hypothesis import given as ranging
from hypothesis import strategies as st

from homeostat.laws import AIMD
from tests.laws.steps import commands, given


@ranging(st.floats(1, 100), st.floats(0, 100), st.floats(0.01, 1), st.floats(0.1, 0.9), st.floats(-50, 0.5))
def test_it_stays_in_its_sawtooth_once_it_has_cut(
    capacity: float, start: float, increase: float, factor: float, floor: float
) -> None:
    law = AIMD(increase=increase, factor=factor, floor=floor)
    knob, state, cut, seen = start, law.init(), False, []
    for _ in range(400):
        cut |= knob > capacity
        (knob,), state, _ = law.update(state, given(knob, capacity, knob))
        if cut:
            seen.append(knob)
    slack = 1e-9 * (capacity - floor)
    inside = [u for u in seen if u <= capacity + increase + slack]
    assert seen[len(seen) - len(inside) :] == inside  # what starts above comes down, for good
    assert all(u >= floor + factor * (capacity - floor) - slack for u in seen)


def test_the_mean_of_the_sawtooth() -> None:
    law, knob, state, seen = AIMD(increase=0.01, factor=0.5), 5.0, AIMD(increase=1).init(), []
    for _ in range(20_000):
        (knob,), state, _ = law.update(state, given(knob, 10.0, knob))
        seen.append(knob)
    assert sum(seen[5000:]) / 15_000 == pytest.approx(7.5, rel=0.01)


def test_a_pause_answers_one_overload_once() -> None:
    law = AIMD(increase=1.0, factor=0.5, pause=3)
    assert commands(law, [9.0, 9.0, 9.0, 9.0, 0.0, 0.0, 0.0, 0.0], start=8.0) == [4, 4, 4, 2, 2, 2, 2, 3]


def test_after_a_long_gap_it_rises_for_what_was_left_of_it_but_not_for_a_hold() -> None:
    law = AIMD(increase=1.0, pause=3)
    state = law.update(law.init(), given(9.0, 0.0, 8.0)).state
    assert law.update(state, given(-1.0, 0.0, 4.0, elapsed=10)).command == (11.0,)
    held = given(-1.0, 0.0, 4.0, elapsed=10)._replace(held=6)
    assert law.update(state, held).command == (5.0,)


def test_a_cut_below_the_floor_goes_no_way() -> None:
    assert commands(AIMD(increase=1.0, floor=5.0), [9.0, 9.0], start=2.0) == [2.0, 2.0]
