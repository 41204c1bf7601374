from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given as ranging
from hypothesis import strategies as st
from pydantic import ValidationError

from homeostat.laws import CUSUM, PID, Chain
from homeostat.simulation import FirstOrder, simulate
from tests.laws.steps import commands, given


def run_lengths(law: CUSUM, shift: float, runs: int) -> list[int]:
    """Numbers of readings until an alarm, one after the other."""
    rng, lengths, state, length = np.random.default_rng(7), [], law.init(), 0
    while len(lengths) < runs:
        for z in rng.standard_normal(4096).tolist():
            decision = law.update(state, given(3.0 + 2.0 * (z + shift), 3.0))
            state, length = decision.state, length + 1
            if decision.command != (3.0,):
                lengths.append(length)
                length = 0
    return lengths[:runs]


@pytest.mark.parametrize(("shift", "threshold"), [(0.0, 3.0), (0.5, 3.0), (-1.0, 4.0), (2.0, 4.0)])
def test_the_average_run_length_is_the_one_documented(shift: float, threshold: float) -> None:
    law = CUSUM(noise=2.0, threshold=threshold)
    assert np.mean(run_lengths(law, shift, 1500)) == pytest.approx(law.average_run_length(shift), rel=0.08)


def test_the_formula_gives_the_tabulated_lengths() -> None:
    """Montgomery's table 9.3, k = 1/2: exact lengths 168, 465 at no shift, 8.38, 10.4 at one standard deviation."""
    for threshold, quiet, shifted in [(4.0, 168, 8.38), (5.0, 465, 10.4)]:
        law = CUSUM(noise=1.0, threshold=threshold)
        assert law.average_run_length() == pytest.approx(quiet, rel=0.02)
        assert law.average_run_length(1.0) == pytest.approx(shifted, rel=0.02)
    assert CUSUM(noise=1.0).average_run_length(0.5 + 1e-9) == pytest.approx(6.166**2, rel=1e-3)
    assert math.isfinite(CUSUM(noise=1, threshold=1e6).average_run_length(-50.0))


def test_the_estimate_is_near_the_shifted_mean() -> None:
    law, estimates = CUSUM(noise=1.0, threshold=20), []
    state = law.init()
    for reading in (np.random.default_rng(3).normal(size=5000) + 12.0).tolist():
        decision = law.update(state, given(reading, 10.0))
        state = decision.state
        if decision.command != (10.0,):
            estimates.append(decision.command[0])
    assert np.mean(estimates) == pytest.approx(12.0, abs=0.15)


@ranging(st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=50))
def test_within_the_allowance_it_never_alarms(readings: list[float]) -> None:
    assert commands(CUSUM(noise=1.0), [7 + r for r in readings], setpoint=7.0) == [7.0] * len(readings)


def test_a_controller_behind_it_leaves_the_noise_alone_and_corrects_a_shift() -> None:
    law = Chain(laws=(CUSUM(noise=0.2, threshold=12), PID(gain=0.2, integral_time=0.5)))
    quiet = simulate(law, FirstOrder(noise=0.2, time_constant=2), ticks=2000, setpoint=0.0)
    assert set(quiet.command) == {0.0}
    shifted = simulate(law, FirstOrder(noise=0.2, time_constant=2, offset=1.0), ticks=2000, setpoint=0.0)
    assert abs(shifted.reading[-500:].mean()) < 0.1
    assert np.count_nonzero(np.diff(shifted.command)) < 40


@pytest.mark.parametrize("fields", [{"noise": 0}, {"noise": 1, "threshold": 0}, {"noise": 1, "allowance": -1}])
def test_refuses_nonsense(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        CUSUM(**fields)
