"""Courses over the ticks."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from homeostat.profile import Profile

KINDS = ["linear", "log", "cosine", "step"]
points = st.dictionaries(st.integers(-1000, 1000), st.floats(1e-3, 1e3), min_size=1, max_size=6).map(
    lambda d: tuple(sorted(d.items()))
)


@given(points, st.sampled_from(KINDS))
def test_passes_through_its_points_and_is_constant_outside(points: tuple, kind: str) -> None:
    profile = Profile(points=points, interpolation=kind)
    for tick, value in points:
        assert profile.at(tick) == pytest.approx(value, rel=1e-12)
    assert profile.at(points[0][0] - 5) == points[0][1]
    assert profile.at(points[-1][0] + 5) == points[-1][1]


@given(points, st.integers(-1100, 1100))
def test_linear_is_numpys(points: tuple, tick: int) -> None:
    ticks, values = zip(*points, strict=True)
    assert Profile(points=points).at(tick) == pytest.approx(np.interp(tick, ticks, values), rel=1e-9)


@given(points, st.sampled_from(KINDS), st.integers(-1100, 1100))
def test_stays_between_neighbouring_points(points: tuple, kind: str, tick: int) -> None:
    value = Profile(points=points, interpolation=kind).at(tick)
    for (t0, v0), (t1, v1) in pairwise(points):
        if t0 <= tick <= t1:
            assert min(v0, v1) * (1 - 1e-9) <= value <= max(v0, v1) * (1 + 1e-9)


def test_middles() -> None:
    ends = ((0, 1.0), (10, 100.0))
    assert Profile(points=ends, interpolation="linear").at(5) == 50.5
    assert Profile(points=ends, interpolation="log").at(5) == pytest.approx(10.0)
    assert Profile(points=ends, interpolation="cosine").at(5) == pytest.approx(50.5)
    assert Profile(points=ends, interpolation="step").at(9) == 1.0
    quarter = 100 - 99 * (1 + math.cos(math.pi * 0.3)) / 2
    assert Profile(points=ends, interpolation="cosine").at(3) == pytest.approx(quarter)


@pytest.mark.parametrize(
    ("points", "kind", "message"),
    [
        ((), "linear", "at least 1 item"),
        (((0, 1.0), (5, 1.0)), "power", "tick 1 or later"),
        (((1, 0.0),), "power", "positive values"),
        (((0, 1.0), (0, 2.0)), "linear", "increase strictly"),
        (((5, 1.0), (0, 2.0)), "linear", "increase strictly"),
        (((0, 1.0), (5, 0.0)), "log", "positive values"),
        (((0, math.nan),), "linear", "finite number"),
    ],
)
def test_refuses_nonsense(points: tuple, kind: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Profile(points=points, interpolation=kind)


def test_power_is_a_straight_line_in_logarithms() -> None:
    profile = Profile(points=((100, 8.0), (10_000, 0.8)), interpolation="power")
    assert profile.at(50) == 8.0
    for tick in (100, 317, 1000, 9999):
        assert profile.at(tick) == pytest.approx(8.0 * math.sqrt(100 / tick), rel=1e-12)


@given(points, st.integers(1, 10**6))
def test_an_ending_needs_a_horizon_and_comes_at_it(points: tuple, horizon: int) -> None:
    plain = Profile(points=points)
    profile = plain.model_copy(update={"final": 0.1})
    assert profile.at(horizon) == plain.at(horizon)
    ending = profile.over(horizon)
    assert ending.at(0) == plain.at(0)
    assert ending.at(horizon) == pytest.approx(0.1 * plain.at(horizon), rel=1e-9)
    assert ending.at(3 * horizon) == pytest.approx(0.1 * plain.at(3 * horizon), rel=1e-9)
    assert plain.over(horizon) is plain


@pytest.mark.parametrize("horizon", [0, -5])
def test_a_run_of_no_length_is_refused(horizon: int) -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Profile(points=((0, 1.0),), final=0.5).over(horizon)


def test_survives_json() -> None:
    profile = Profile(points=((0, 1.0), (7, 2.5)), interpolation="cosine")
    assert Profile.model_validate_json(profile.model_dump_json()) == profile
