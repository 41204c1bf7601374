from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given as ranging
from hypothesis import strategies as st
from pydantic import ValidationError

from homeostat.laws import Input, SignIntegrator
from tests.laws.steps import given

loads = st.lists(st.floats(0, 1), min_size=4, max_size=4).map(tuple)


def plants(knob: float) -> tuple[float, float, float]:
    """Readings that rise strictly with the knob: gently, steeply, and hardly."""
    return knob / 3, knob**3 + 100 * knob, math.atan(knob)


@pytest.mark.parametrize("dead", [0, 1, 5])
@ranging(st.floats(-30, 30), st.floats(-20, 20), st.floats(0.01, 3.0), st.integers(0, 2))
def test_the_distance_falls_by_a_step_a_decision_and_stays_within_its_bound(
    dead: int, start: float, goal: float, rate: float, kind: int
) -> None:
    """The Lyapunov bound of the docstring, D delayed decisions included."""
    law = SignIntegrator(rate=rate)
    setpoint = plants(goal)[kind]
    knobs = [start] * (dead + 1)
    for _ in range(60):
        reading = plants(knobs[-1 - dead])[kind]
        knobs.append(law.update((), given(reading, setpoint, knobs[-1])).command[0])
    distances = [abs(knob - goal) for knob in knobs]
    band = (dead + 1) * rate * (1 + 1e-9)
    for before, after in zip(distances[dead:], distances[dead + 1 :], strict=False):
        assert after <= max(before, band)
    steps = math.ceil(distances[0] / rate) + 2 * dead
    assert all(distance <= band for distance in distances[dead + 1 + steps :])
    if dead == 0:
        for before, after in pairwise(distances):
            assert after <= max(before - rate * (1 - 1e-9), rate * (1 + 1e-9))


@ranging(loads, st.integers(1, 100))
def test_recentred_knobs_keep_their_mean_and_move_apart(readings: tuple[float, ...], elapsed: int) -> None:
    law = SignIntegrator(rate=0.001, size=4, recentre=True)
    admitted = (0.1, -0.2, 0.3, -0.2)
    command = law.update((), Input(readings, (0.25,) * 4, admitted, (False,) * 4, elapsed)).command
    assert sum(command) == pytest.approx(sum(admitted), abs=1e-12)
    steps = [c - a for c, a in zip(command, admitted, strict=True)]
    for i in range(4):
        for j in range(4):
            if readings[i] < 0.25 < readings[j]:
                assert steps[i] - steps[j] == pytest.approx(0.002 * elapsed)


def test_it_rests_in_the_dead_band_and_at_the_setpoint() -> None:
    law = SignIntegrator(rate=1.0, dead_band=0.5)
    assert [law.update((), given(y, 0.0, 7.0)).command[0] for y in (0.0, 0.5, -0.5, 0.6, -0.6)] == [7, 7, 7, 6, 8]
    assert SignIntegrator(rate=1.0).update((), given(2.0, 2.0, 7.0)).command == (7.0,)


def test_a_negative_rate_turns_it_round_and_elapsed_ticks_count() -> None:
    law = SignIntegrator(rate=-0.5)
    assert law.update((), given(3.0, 1.0, 2.0, elapsed=4)).command == (4.0,)
    assert law.update((), given(-3.0, 1.0, 2.0, elapsed=4)).command == (0.0,)


@pytest.mark.parametrize("fields", [{"rate": 0}, {"rate": 1, "recentre": True}, {"rate": 1, "size": 0}])
def test_refuses_nonsense(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        SignIntegrator(**fields)
