"""The Kalman filter against its matrix form and the steady state that scipy finds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given as ranging
from hypothesis import strategies as st
from scipy.linalg import expm, solve_discrete_are

from homeostat.laws import EMA, Kalman
from tests.laws.steps import commands, given

pauses = st.lists(st.integers(1, 20), min_size=2, max_size=12)


def matrix_form(law: Kalman, readings: np.ndarray, elapsed: list[int]) -> list[float]:
    """Textbook recursion from a level and a trend of (almost) unknown size; process noise by Van Loan's integral."""
    a = np.array([[0.0, 1.0], [0.0, 0.0]])
    q = np.diag([law.drift**2, (law.trend_drift or 0.0) ** 2])
    x, p, out = np.zeros(2), np.diag([1e7, 0.0 if law.trend_drift is None else 1e7]), []
    for i, (reading, dt) in enumerate(zip(readings, elapsed, strict=True)):
        if i:
            block = expm(np.block([[-a, q], [np.zeros((2, 2)), a.T]]) * dt)
            f = block[2:, 2:].T
            x, p = f @ x, f @ p @ f.T + f @ block[:2, 2:]
        gain = p[:, 0] / (p[0, 0] + law.noise**2)
        x = x + gain * (reading - x[0])
        p = p - np.outer(gain, p[0])
        out.append(x[0])
    return out


@pytest.mark.parametrize("trend_drift", [None, 0.02])
@ranging(pauses, st.integers(0, 100))
def test_it_is_the_matrix_recursion_at_any_spacing(trend_drift: float | None, elapsed: list[int], seed: int) -> None:
    law = Kalman(noise=1.0, drift=0.3, trend_drift=trend_drift)
    readings = np.random.default_rng(seed).normal(size=len(elapsed)).cumsum()
    out, state = [], law.init()
    for reading, dt in zip(readings, elapsed, strict=True):
        (answer,), state, _ = law.update(state, given(reading, elapsed=dt))
        out.append(answer)
    # The twin starts from a variance of 1e7, not from an infinite one.
    np.testing.assert_allclose(out, matrix_form(law, readings, elapsed), atol=1e-4)


def test_its_gain_settles_where_the_riccati_equation_says() -> None:
    law = Kalman(noise=2.0, drift=0.3, trend_drift=0.05)
    state = law.init()
    for _ in range(500):
        decision = law.update(state, given(0.0))
        state = decision.state
    t, q = 0.05**2, 0.3**2
    f, noise = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[q + t / 3, t / 2], [t / 2, t]])
    p = solve_discrete_are(f.T, np.array([[1.0], [0.0]]), noise, np.array([[4.0]]))
    assert decision.terms["gain"] == pytest.approx(p[0, 0] / (p[0, 0] + 4.0), rel=1e-9)


def test_without_drift_it_is_the_plain_mean_or_the_regression_line() -> None:
    readings = np.random.default_rng(1).normal(size=50) + np.arange(50)
    np.testing.assert_allclose(commands(Kalman(noise=1, drift=0), readings), readings.cumsum() / np.arange(1, 51))
    line = np.polynomial.Polynomial.fit(np.arange(50), readings, 1)
    assert commands(Kalman(noise=1, drift=0, trend_drift=0), readings)[-1] == pytest.approx(line(49), rel=1e-9)


def test_behind_a_ramp_only_the_level_model_lags() -> None:
    ramp = np.arange(300.0)
    assert commands(Kalman(noise=1, drift=0.1, trend_drift=0.01), ramp)[-1] == pytest.approx(299, abs=1e-6)
    assert commands(Kalman(noise=1, drift=0.1), ramp)[-1] < 295


def test_no_ema_is_nearer_to_the_level_than_the_filter_of_the_true_noises() -> None:
    rng = np.random.default_rng(2)
    level = rng.normal(size=4000).cumsum() * 0.2
    readings = level + rng.normal(size=4000)

    def error(answers: list[float]) -> float:
        return math.sqrt(np.mean((np.array(answers) - level) ** 2))

    ours = error(commands(Kalman(noise=1.0, drift=0.2), readings))
    emas = [error(commands(EMA(time_constant=t), readings)) for t in (1, 2, 3, 4, 5, 6, 8, 12, 20)]
    assert ours < 1.005 * min(emas)
    # The steady-state variance of the estimate, in closed form: q (sqrt(1 + 4 R / q) - 1) / 2.
    assert ours == pytest.approx(math.sqrt(0.02 * (math.sqrt(101) - 1)), rel=0.05)
