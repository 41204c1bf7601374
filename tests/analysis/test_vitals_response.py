"""Overshoot, settling, IAE and recovery, where they are known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.analysis import recovery, response
from homeostat.analysis.vitals_response import running_median

TICK = np.arange(1000.0)


def after(at: float, errors: np.ndarray) -> np.ndarray:
    """Zero before `at`; from there `errors` of the time since."""
    return np.where(at <= TICK, errors, 0.0)


@pytest.mark.parametrize("damping", [0.2, 0.4, 0.6])
def test_the_overshoot_of_a_second_order_loop_is_the_textbook_s(damping):
    frequency = 0.02
    damped = frequency * math.sqrt(1 - damping**2)
    t = np.maximum(TICK - 100, 0)
    swing = np.cos(damped * t) + damping / math.sqrt(1 - damping**2) * np.sin(damped * t)
    found = response(TICK, after(100, 2.5 * np.exp(-damping * frequency * t) * swing), at=100)
    assert found.peak == 2.5
    assert found.overshoot == pytest.approx(math.exp(-math.pi * damping / math.sqrt(1 - damping**2)), rel=1e-3)


def test_an_answer_worse_than_the_change_overshoots_by_more_than_one():
    swings = after(100, np.where(TICK < 120, 1.0, np.where(TICK < 140, -6.4, 0.0)))
    found = response(TICK, swings, at=100)
    assert (found.peak, found.overshoot) == (6.4, 6.4)
    # A disturbance that shows late, and on the side of the negative.
    late = response(TICK, after(150, np.where(TICK < 170, -2.0, 3.0) * np.exp(-np.maximum(TICK - 170, 0) / 20)), at=100)
    assert late.overshoot == pytest.approx(1.5)


@pytest.mark.parametrize("time_constant", [5.0, 30.0])
def test_settling_and_iae_of_a_first_order_loop_are_the_textbook_s(time_constant):
    t = np.maximum(TICK - 100, 0)
    found = response(TICK, after(100, -3.0 * np.exp(-t / time_constant)), at=100)
    assert found.overshoot == 0
    assert found.band == pytest.approx(0.06)
    # Two per cent are left after ln 50 time constants.
    assert found.settling == pytest.approx(time_constant * math.log(50), abs=1.0)
    assert found.iae == pytest.approx(3.0 / (1 - math.exp(-1 / time_constant)))


def test_noise_makes_the_band_and_one_outlier_no_relapse():
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(TICK))
    errors = noise + after(300, 4.0 * np.exp(-np.maximum(TICK - 300, 0) / 20))
    errors[700] = 5.0
    found = response(TICK, errors, at=300, until=900)
    assert found.band == pytest.approx(0.3, rel=0.15)
    # 4 exp(-t / 20) = 0.3 at t = 52, where it falls by 0.015 a tick; a median of 5 still has noise of 0.054.
    assert found.settling == pytest.approx(52, abs=3 * 0.054 / 0.015)
    # The same outlier is no overshoot either: it lies on the side of the peak.
    assert response(TICK, errors, at=300, until=700).overshoot < 0.1


def test_a_loop_that_does_not_come_back_has_not_settled():
    assert response(TICK, after(100, np.ones(len(TICK))), at=100).settling == math.inf
    assert response(TICK, np.zeros(len(TICK)), at=100).settling == 0


@given(st.floats(1e-6, 1e6), st.integers(1, 50))
def test_a_response_is_free_of_units(unit, every):
    errors = after(200, np.cos(TICK / 30) * np.exp(-TICK / 100))
    one = response(TICK, errors, at=200)
    other = response(every * TICK, unit * errors, at=200 * every)
    assert other.overshoot == pytest.approx(one.overshoot)
    assert other.settling == pytest.approx(every * one.settling)
    assert other.iae == pytest.approx(unit * every * one.iae)


def losses(seed: int = 0) -> np.ndarray:
    return 2.0 * np.exp(-TICK / 300) + 0.5 + 0.05 * np.random.default_rng(seed).standard_normal(len(TICK))


def test_a_run_recovers_when_it_is_back_in_the_twin_s_band():
    t = np.maximum(TICK - 400, 0)
    found = recovery(TICK, losses(1) + after(400, 3.0 * np.exp(-t / 25)), losses(0), at=400)
    assert found.band == pytest.approx(0.15, rel=0.15)
    # 3 exp(-t / 25) = 0.15 at t = 75.
    assert found.ticks == pytest.approx(75, abs=20)
    assert found.peak == pytest.approx(3.0, rel=0.2)
    assert found.area == pytest.approx(3.0 * 25, rel=0.2)


def test_better_than_the_twin_is_no_fault():
    assert recovery(TICK, losses() - 0.4, losses(), at=400)[:3] == (0.0, pytest.approx(-0.4), 0.0)


def test_a_loss_that_is_no_number_has_not_recovered():
    lost = np.where(TICK < 500, losses(), np.nan)
    assert recovery(TICK, lost, losses(), at=400)[:3] == (math.inf, math.inf, math.inf)
    back = np.where((TICK < 500) | (TICK > 550), losses(), np.nan)
    assert recovery(TICK, back, losses(), at=400).ticks == pytest.approx(150, abs=7)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.integers(0, 4))
def test_a_running_median_is_the_median_of_those_around(values, half):
    found = running_median(np.array(values), 2 * half + 1)
    assert found.tolist() == [np.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="got none from 2000 to inf"):
        response(TICK, np.zeros(1000), at=2000)
    with pytest.raises(ValueError, match="1 values not finite"):
        response(TICK, np.where(TICK == 7, np.nan, 0.0), at=5)
    with pytest.raises(ValueError, match="Ticks must increase; got 999 that do not"):
        response(TICK[::-1], np.zeros(1000), at=5)
    with pytest.raises(ValueError, match=r"got shapes \(1000,\) and \(3,\)"):
        response(TICK, np.zeros(3), at=5)
    with pytest.raises(ValueError, match=r"one shape; got \(3,\)"):
        recovery(TICK, np.zeros(3), np.zeros(1000), at=5)
    with pytest.raises(ValueError, match="odd and positive; got 4"):
        recovery(TICK, np.zeros(1000), np.zeros(1000), at=5, window=4)
