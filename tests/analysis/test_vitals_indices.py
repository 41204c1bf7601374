"""Harris index and oscillation index, where the answer is known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from homeostat.analysis import harris_index, oscillation_index
from homeostat.analysis.vitals_indices import FEWEST, forecast
from homeostat.laws import PID
from homeostat.simulation import FirstOrder, simulate

# Estimates from 20 000 errors: the standard deviation of a ratio of variances is then about 0.01.
ERRORS = 20_000
STATISTICAL = 0.03

series = arrays(float, st.integers(FEWEST, 60), elements=st.floats(-1e300, 1e300))


def drifting(phi: float, seed: int = 0) -> np.ndarray:
    """d(t) = phi d(t - 1) + a(t), a normal."""
    d = np.random.default_rng(seed).standard_normal(ERRORS)
    for t in range(1, ERRORS):
        d[t] += phi * d[t - 1]
    return d


@pytest.mark.parametrize("delay", [1, 3])
@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_a_disturbance_nobody_acts_on_has_the_index_of_its_definition(phi, delay):
    """The least variance is that of the first `delay` innovations: (1 - phi^2b) / (1 - phi^2); the actual one
    1 / (1 - phi^2)."""
    index = harris_index(drifting(phi), delay)
    assert index == pytest.approx(1 - phi ** (2 * delay), abs=STATISTICAL)


@pytest.mark.parametrize("delay", [1, 2, 4])
def test_the_minimum_variance_law_has_index_1(delay):
    """u(t) = -phi^b d(t) moves y(t + b): nothing else than the last b innovations is left of d."""
    phi, d = 0.9, drifting(0.9)
    errors = d[delay:] - phi**delay * d[:-delay]
    assert harris_index(errors, delay) > 1 - STATISTICAL
    if delay > 1:
        # A law without the dead time could do better: it would leave one innovation of the b.
        known = 1 / sum(phi ** (2 * i) for i in range(delay))
        assert harris_index(errors, 1) == pytest.approx(known, abs=STATISTICAL)


@pytest.mark.parametrize("gain", [0.5, 3.0, 8.0])
def test_a_proportional_law_that_answers_to_noise_has_the_index_of_its_closed_loop(gain):
    """level' = (a - k) level - k noise, so var(y) = 1 + k^2 / (1 - (a - k)^2), and the least is 1."""
    run = simulate(PID(gain=gain), FirstOrder(time_constant=10, noise=1.0), ticks=8000, setpoint=0.0)
    a = math.exp(-0.1)
    k = (1 - a) * gain
    known = 1 / (1 + k**2 / (1 - (a - k) ** 2))
    assert harris_index(run.setpoint - run.reading) == pytest.approx(known, abs=STATISTICAL)


def test_an_offset_counts_against_the_loop():
    noise = np.random.default_rng(0).standard_normal(2000)
    assert harris_index(noise + 3.0) == pytest.approx(1 / 10, abs=0.01)


def test_the_noise_is_told_from_a_jump_and_from_a_fast_cycle():
    noise = 0.1 * np.random.default_rng(0).standard_normal(200)
    jump = np.where(np.arange(200) < 100, 0.0, 1000.0)
    cycle = 5.0 * (-1.0) ** np.arange(200)
    for errors in (noise, noise + jump, noise + cycle):
        assert forecast(errors).noise == pytest.approx(0.1, rel=0.35)


@pytest.mark.parametrize("period", [2.0, 3.3, 7.0, 18.0])
def test_a_cycle_oscillates_whatever_its_amplitude(period):
    noise = np.random.default_rng(0).standard_normal(100)
    cycle = np.sin(2 * np.pi * np.arange(100) / period + 0.3)
    assert oscillation_index(1e-6 * (cycle + 0.1 * noise)) > 0.7
    assert oscillation_index(cycle + 0.1 * noise) == pytest.approx(oscillation_index(1e9 * (cycle + 0.1 * noise)))


def test_noise_a_drift_and_rest_do_not_oscillate():
    for seed in range(50):
        assert oscillation_index(np.random.default_rng(seed).standard_normal(200)) <= 0.5
    assert oscillation_index(np.linspace(0, 1, 200)) == 0
    assert oscillation_index(np.full(200, 0.1)) == 0
    assert oscillation_index(np.zeros(200)) == 0


def test_too_much_gain_is_seen_as_an_oscillation():
    plant = FirstOrder(time_constant=10, dead_time=5, noise=0.05)
    calm, wild = (
        simulate(PID(gain=gain, integral_time=10), plant, ticks=300, setpoint=1.0, low=-5, high=5)
        for gain in (0.5, 4.0)
    )
    assert oscillation_index((calm.setpoint - calm.reading)[100:]) < 0.5
    assert oscillation_index((wild.setpoint - wild.reading)[100:]) > 0.8


@given(series, st.integers(-300, 300))
def test_indices_are_shares_and_free_of_units(errors, power):
    for index in (harris_index, oscillation_index):
        assert 0 <= index(errors) <= 1
        assert index(-errors) == pytest.approx(index(errors), abs=1e-6)
    with np.errstate(all="ignore"):
        scaled = np.ldexp(errors, power)
        exact = np.isfinite(scaled).all() and np.array_equal(np.ldexp(scaled, -power), errors)
    if exact:
        assert harris_index(scaled) == harris_index(errors)
        assert oscillation_index(scaled) == oscillation_index(errors)


@pytest.mark.parametrize(
    ("errors", "delay", "message"),
    [
        (np.zeros(19), 1, "at least 20"),
        (np.zeros(24), 6, "at least 25"),
        (np.zeros((30, 2)), 1, "one series"),
        (np.full(30, np.nan), 1, "must be finite; got 30"),
        (np.zeros(30), 0, "at least 1 decision; got 0"),
    ],
)
def test_what_cannot_be_judged_is_refused(errors, delay, message):
    with pytest.raises(ValueError, match=message):
        harris_index(errors, delay)
