"""Hold, Schedule and Threshold."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from homeostat.laws import Hold, Schedule, Threshold
from homeostat.profile import Profile
from tests.laws.steps import after, given


def test_hold_keeps_the_knob_where_it_is() -> None:
    assert after(Hold(), given(5.0, admitted=1.5), given(-7.0, admitted=2.5, moved=True))[0].command == (2.5,)


def test_schedule_counts_elapsed_ticks_from_the_first_decision() -> None:
    law = Schedule(profile=Profile(points=((0, 1.0), (100, 2.0))))
    state, seen = law.init(), []
    for elapsed in (1, 10, 40, 500):
        (command,), state, _ = law.update(state, given(0.0, admitted=-3.0, moved=True, elapsed=elapsed))
        seen.append(command)
    assert seen == [1.0, 1.1, 1.5, 2.0]


def relay(readings: list[float], admitted: list[float], moved: list[bool]) -> list[float]:
    law = Threshold(low=1.0, high=2.0, above=10.0, below=-10.0)
    state, out = law.init(), []
    for reading, position, found in zip(readings, admitted, moved, strict=True):
        (command,), state, _ = law.update(state, given(reading, admitted=position, moved=found))
        out.append(command)
    return out


def test_threshold_keeps_the_knob_until_a_threshold_is_crossed() -> None:
    assert relay([1.0, 1.5, 2.0], [3.0] * 3, [True, False, False]) == [3.0, 3.0, 3.0]


def test_threshold_has_hysteresis() -> None:
    assert relay([2.1, 1.5, 0.9, 1.5, 2.1], [0.0] * 5, [False] * 5) == [10.0, 10.0, -10.0, -10.0, 10.0]


def test_threshold_completes_a_slewed_move_but_leaves_a_hand_turned_knob() -> None:
    assert relay([2.1, 1.5, 1.5, 1.5], [0.0, 4.0, 6.5, 6.5], [True, False, True, False]) == [10.0, 10.0, 6.5, 6.5]


def test_threshold_refuses_limits_without_a_gap() -> None:
    with pytest.raises(ValidationError, match=r"low must be under its high; got 2\.0 and 2\.0"):
        Threshold(low=2.0, high=2.0, above=1.0, below=0.0)
