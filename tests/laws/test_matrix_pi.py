"""Several errors on several knobs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as ranging
from hypothesis import strategies as st
from pydantic import ValidationError

from homeostat.laws import PID, Input, MatrixPI
from tests.laws.steps import commands


def test_one_by_one_is_a_pi() -> None:
    readings = np.random.default_rng(0).normal(size=60)
    matrix = MatrixPI(gain=((0.8,),), integral=((0.8 / 12,),), tracking_time=12)
    np.testing.assert_allclose(
        commands(matrix, readings, setpoint=0.3),
        commands(PID(gain=0.8, integral_time=12), readings, setpoint=0.3),
        rtol=1e-9,
        atol=1e-12,
    )


@ranging(st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_equals_numpy_at_irregular_ticks(m: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    gain, rate = rng.normal(size=(m, n)), rng.normal(size=(m, n))
    law = MatrixPI(gain=tuple(map(tuple, gain)), integral=tuple(map(tuple, rate)), tracking_time=10)
    assert law.shape == (n, m)
    start = rng.normal(size=m)
    state, admitted, expected, last = law.init(), start, start, None
    for i in range(6):
        y, r, elapsed = rng.normal(size=n), rng.normal(size=n), int(rng.integers(1, 9))
        decision = law.update(state, Input(tuple(y), tuple(r), tuple(admitted), (i == 0,) * m, elapsed))
        if last is not None:
            expected = expected + gain @ (r - y - last) + rate @ (r - y + last) / 2 * elapsed
        last = r - y
        np.testing.assert_allclose(decision.command, expected, rtol=1e-9, atol=1e-9)
        state, admitted = decision.state, decision.command


def test_decouples_two_knobs_on_two_readings() -> None:
    """With H = K^-1 / T each setpoint is reached alone, though both knobs act on both readings."""
    plant = np.array([[1.0, 0.6], [0.4, -1.0]])
    inverse = np.linalg.inv(plant)
    law = MatrixPI(gain=tuple(map(tuple, 0.2 * inverse)), integral=tuple(map(tuple, inverse / 15)), tracking_time=10)
    state, knobs, levels, seen = law.init(), np.zeros(2), np.zeros(2), []
    for i in range(200):
        decision = law.update(state, Input(tuple(levels), (1.0, 0.0), tuple(knobs), (i == 0,) * 2, 1))
        state, knobs = decision.state, np.array(decision.command)
        levels = levels + 0.2 * (plant @ knobs - levels)
        seen.append(levels)
    assert np.abs(np.array(seen)[:, 1]).max() < 1e-9
    assert seen[-1][0] == pytest.approx(1.0, abs=1e-3)


def test_a_limit_on_one_knob_winds_up_neither() -> None:
    law = MatrixPI(gain=((1, 0), (0, 1)), integral=((0.1, 0), (0, 0.1)), tracking_time=10)
    state, admitted = law.init(), (0.0, 0.0)
    for i in range(500):
        decision = law.update(state, Input((-1.0, 0.0), (0.0, 0.0), admitted, (i == 0,) * 2, 1))
        state, admitted = decision.state, (min(0.5, decision.command[0]), decision.command[1])
    assert state.command[0] < 2.0
    assert state.command[1] == 0.0
    moved = law.update(state, Input((0.0, 0.0), (0.0, 0.0), (0.3, 7.0), (False, True), 1))
    assert moved.command[1] == 7.0
    assert moved.command[0] < 0.5


@pytest.mark.parametrize(
    ("gain", "integral", "message"),
    [
        ((), (), "gain must have at least one row"),
        (((),), ((),), "gain must have at least one row"),
        (((1, 2), (3,)), ((1, 2), (3, 4)), "rows of length \\[1, 2\\]"),
        (((1, 2),), ((1,), (2,)), "must have one shape; got \\(1, 2\\) and \\(2, 1\\)"),
        (((1e200,),), ((1,),), "must stay within 1e100"),
    ],
)
def test_refuses_matrices_that_do_not_fit(gain: tuple, integral: tuple, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MatrixPI(gain=gain, integral=integral, tracking_time=5)
