"""Seeking an optimum by probing."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given as ranging
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import ValidationError

from homeostat.laws import ExtremumSeeking, Input


def sought(
    law: ExtremumSeeking, cost: Callable[[np.ndarray], float], ticks: int, *, high: float = math.inf, late: int = 0
) -> np.ndarray:
    """Knob positions of a run from 0 on a static cost, which is seen `late` ticks late."""
    m = law.shape[1]
    state, knobs, course = law.init(), (0.0,) * m, [(0.0,) * m] * (late + 1)
    for tick in range(ticks):
        decision = law.update(state, Input((cost(np.array(course[-1 - late])),), (), knobs, (tick == 0,) * m, 1))
        state, knobs = decision.state, tuple(min(c, high) for c in decision.command)
        course.append(knobs)
    return np.array(course)


def final(law: ExtremumSeeking, course: np.ndarray) -> np.ndarray:
    """Where the knobs stand at the end, probes averaged out."""
    return course[-round(law.common_period) :].mean(axis=0)


@ranging(
    st.floats(-1.5, 1.5), st.sampled_from([1e-9, 1.0, 1e9]), st.sampled_from([0.3, 1.0, 10.0]), st.floats(-1e3, 1e3)
)
@settings(max_examples=20)
def test_finds_the_optimum_of_any_curvature_and_unit(
    optimum: float, unit: float, curvature: float, offset: float
) -> None:
    law = ExtremumSeeking(amplitudes=(0.1,), period=8)
    course = sought(law, lambda u: unit * (curvature * (u[0] - optimum) ** 2 + offset), 900)
    assert final(law, course)[0] == pytest.approx(optimum, abs=0.02)


def test_several_coupled_knobs_find_theirs_at_once() -> None:
    optimum, hessian = np.array([0.4, -0.6, 0.2]), np.array([[1.0, 0.3, 0.0], [0.3, 2.0, -0.4], [0.0, -0.4, 0.5]])
    law = ExtremumSeeking(amplitudes=(0.1, 0.1, 0.1), period=8)
    course = sought(law, lambda u: float((u - optimum) @ hessian @ (u - optimum)), 6000)
    np.testing.assert_allclose(final(law, course), optimum, atol=0.02)


@pytest.mark.parametrize("knobs", [1, 2, 3])
def test_near_the_optimum_it_approaches_at_the_rate_that_the_docstring_states(knobs: int) -> None:
    law = ExtremumSeeking(amplitudes=(0.1,) * knobs, period=50, speed=0.05)
    course = sought(law, lambda u: 7.0 * float(((u - 0.02) ** 2).sum()), round(16 * law.common_period))
    off = abs(course[1:].reshape(16, -1, knobs).mean(axis=1) - 0.02)
    rate = np.log(off[4] / off[12]) / 8 / law.speed
    np.testing.assert_allclose(rate, 4 / math.sqrt(knobs), rtol=0.25)


def test_maximizes() -> None:
    law = ExtremumSeeking(amplitudes=(0.1,), period=8, maximize=True)
    assert final(law, sought(law, lambda u: -((u[0] - 1) ** 2), 1500))[0] == pytest.approx(1.0, abs=0.02)


def test_a_delay_that_it_knows_of_does_not_lead_it_astray() -> None:
    # Half a probe late, an unheeded delay turns the slope round.
    knowing, ignorant = (ExtremumSeeking(amplitudes=(0.1,), period=12, delay=delay) for delay in (6, 0))
    assert final(knowing, sought(knowing, lambda u: (u[0] - 1) ** 2, 1500, late=6))[0] == pytest.approx(1.0, abs=0.02)
    assert final(ignorant, sought(ignorant, lambda u: (u[0] - 1) ** 2, 1500, late=6))[0] < -0.5


def test_the_walk_never_exceeds_its_bound_whatever_it_reads() -> None:
    law, rng = ExtremumSeeking(amplitudes=(0.2, 0.1), period=6), np.random.default_rng(0)
    state, knobs, centres = law.init(), (0.0, 0.0), []
    for tick in range(400):
        reading = float(10.0 ** rng.uniform(-90, 90) * rng.choice([-1, 1]))
        decision = law.update(state, Input((reading,), (), knobs, (tick == 0,) * 2, 1))
        state, knobs = decision.state, decision.command
        centres += [(decision.terms["centre0"], decision.terms["centre1"])] if tick else []
    steps = np.abs(np.diff(centres, axis=0)).max(axis=0)
    assert (steps <= law.speed * np.array(law.amplitudes) / law.common_period * (1 + 1e-9)).all()


def test_the_mean_cost_falls_from_period_to_period() -> None:
    """The descent that the docstring states, for the average over common periods, until the optimum is in reach."""
    law = ExtremumSeeking(amplitudes=(0.05, 0.05), period=8)
    course = sought(law, lambda u: float(np.cosh(u[0] - 1) + (u[1] + 1) ** 2), 6000)
    periods = course[: len(course) // 40 * 40].reshape(-1, 40, 2).mean(axis=1)
    cost = np.cosh(periods[:, 0] - 1) + (periods[:, 1] + 1) ** 2
    walking = cost > cost.min() + 1e-2
    assert walking.sum() > 50
    assert (np.diff(cost)[walking[:-1]] <= 0).all()


@ranging(st.integers(1, 100))
def test_no_probe_is_heard_in_another(knobs: int) -> None:
    law = ExtremumSeeking(amplitudes=(1.0,) * knobs, period=8)
    cycles = list(law._cycles())
    assert not {a + b for a, b in combinations_with_replacement(cycles, 2)} & set(cycles)
    assert not {abs(a - b) for a, b in combinations_with_replacement(cycles, 2)} & set(cycles)
    assert cycles[-1] <= 3 * max(cycles[0], 1)
    assert law.common_period / cycles[-1] == pytest.approx(law.period)


def test_the_probe_decays_to_its_final_size() -> None:
    law = ExtremumSeeking(amplitudes=(0.1,), period=8, decay=100, final=0.2)
    course = sought(law, lambda u: (u[0] - 0.2) ** 2, 1500)[:, 0]
    assert np.ptp(course[:40]) > 0.15
    assert np.ptp(course[-40:]) == pytest.approx(0.04, rel=0.1)
    assert final(law, course) == pytest.approx(0.2, abs=0.02)


def test_keeps_room_for_the_probe_at_a_limit() -> None:
    law = ExtremumSeeking(amplitudes=(0.1,), period=8)
    course = sought(law, lambda u: (u[0] - 5) ** 2, 3000, high=0.5)[:, 0]
    assert course.max() == 0.5
    assert np.ptp(course[-40:]) > 0.15


def test_starts_without_a_bump_and_takes_a_moved_knob_from_where_it_is() -> None:
    law = ExtremumSeeking(amplitudes=(0.1,), period=8)
    first = law.update(law.init(), Input((5.0,), (), (3.0,), (True,), 1))
    assert first.command == (3.0,)
    second = law.update(first.state, Input((5.0,), (), (3.0,), (False,), 1))
    third = law.update(second.state, Input((5.0,), (), (-7.0,), (True,), 1))
    assert third.command[0] == pytest.approx(-7.0, abs=0.11)


def test_a_hold_teaches_it_nothing() -> None:
    law = ExtremumSeeking(amplitudes=(0.1,), period=8)
    state, knob = law.init(), 0.0
    for tick in range(50):
        (knob,), state, terms = law.update(state, Input(((knob - 1) ** 2,), (), (knob,), (tick == 0,), 1))
    seen = Input(((knob - 1) ** 2,), (), (knob,), (False,), 1)
    plain, held = (law.update(state, each).terms for each in (seen, seen._replace(elapsed=8001, held=8000)))
    assert plain["slope0"] == held["slope0"] == pytest.approx(terms["slope0"], abs=0.3)
    assert plain["centre0"] == held["centre0"]


def test_refuses_what_would_not_probe() -> None:
    with pytest.raises(ValidationError, match="amplitudes must be positive"):
        ExtremumSeeking(amplitudes=(0.1, 0.0), period=8)
    with pytest.raises(ValidationError, match="greater than 2"):
        ExtremumSeeking(amplitudes=(0.1,), period=2)
