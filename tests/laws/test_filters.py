"""The filters against numpy, scipy and their own definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given as ranging
from hypothesis import strategies as st
from scipy import signal

from homeostat.laws import EMA, Affine, Median, SlewLimit
from tests.laws.steps import commands, given

readings_lists = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40)


def test_ema_settles_on_scipys_filter() -> None:
    readings = np.random.default_rng(0).normal(size=400)
    a = math.exp(-1 / 7)
    expected = signal.lfilter([1 - a], [1, -a], readings) / (1 - a ** np.arange(1, 401))
    np.testing.assert_allclose(commands(EMA(time_constant=7), readings), expected, rtol=1e-9, atol=1e-12)


@ranging(readings_lists)
def test_slow_ema_starts_as_the_plain_mean(readings: list[float]) -> None:
    answers = commands(EMA(time_constant=1e9), readings)
    assert answers[0] == readings[0]
    assert answers[-1] == pytest.approx(np.mean(readings), rel=1e-6, abs=1e-4)


@ranging(st.floats(-10, 10), st.floats(-10, 10), st.integers(1, 30), st.integers(1, 30))
def test_ema_is_exact_for_irregular_ticks(first: float, then: float, gap: int, more: int) -> None:
    """A reading that stands still weighs the same whether it is read once after a gap or at every tick of it."""
    law = EMA(time_constant=9)
    start = law.update(law.init(), given(first)).state
    once = law.update(start, given(then, elapsed=gap + more)).command[0]
    between = law.update(start, given(then, elapsed=gap)).state
    twice = law.update(between, given(then, elapsed=more)).command[0]
    assert once == pytest.approx(twice, rel=1e-9, abs=1e-9)


@ranging(readings_lists, st.integers(1, 9))
def test_median_is_numpys(readings: list[float], window: int) -> None:
    expected = [float(np.median(readings[max(0, i + 1 - window) : i + 1])) for i in range(len(readings))]
    assert commands(Median(window=window), readings) == expected


def test_median_ignores_a_minority_of_outliers() -> None:
    assert commands(Median(window=5), [1.0, 1.0, 1e30, 1e30, 1.0, 1.0])[-1] == 1.0


@ranging(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.integers(1, 100))
def test_slew_limit_stays_within_reach_and_goes_as_far_as_it_may(wanted: float, here: float, elapsed: int) -> None:
    (command,) = SlewLimit(rate=0.25).update((), given(wanted, admitted=here, elapsed=elapsed)).command
    assert command == pytest.approx(np.clip(wanted, here - 0.25 * elapsed, here + 0.25 * elapsed), rel=1e-12)
    if abs(wanted - here) <= 0.25 * elapsed:
        assert command == wanted


def test_slew_limit_does_not_make_up_for_a_hold() -> None:
    held = given(500.0, admitted=1.0, elapsed=1003)._replace(held=1000)
    assert SlewLimit(rate=0.25).update((), held).command == (1.75,)


def test_affine_doubles_a_limit_on_a_log_scale() -> None:
    (command,) = Affine(offset=math.log(2)).update((), given(math.log(3.0))).command
    assert math.exp(command) == pytest.approx(6.0)
    assert Affine(gain=-2.0, offset=1.0).update((), given(3.0)).command == (-5.0,)
