"""Laws in series."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from homeostat.laws import EMA, PID, Affine, Chain, Hold, Law, MatrixPI, Median, SlewLimit, Threshold
from homeostat.simulation import FirstOrder, simulate
from tests.laws.steps import after, commands, given


def test_equals_its_members_by_hand() -> None:
    readings = np.random.default_rng(2).normal(size=50)
    smooth = commands(EMA(time_constant=4), readings)
    chain = Chain(laws=(EMA(time_constant=4), PID(gain=0.3, integral_time=5)))
    assert commands(chain, readings, setpoint=0.5) == commands(PID(gain=0.3, integral_time=5), smooth, setpoint=0.5)


def test_nested_equals_flat() -> None:
    readings = np.random.default_rng(2).normal(size=50)
    a, b, c = Median(window=3), EMA(time_constant=4), PID(gain=0.3, integral_time=5)
    flat = commands(Chain(laws=(a, b, c)), readings)
    assert flat == commands(Chain(laws=(Chain(laws=(a, b)), c)), readings)
    assert flat == commands(Chain(laws=(a, Chain(laws=(b, c)))), readings)


def test_needs_a_setpoint_if_a_member_does() -> None:
    assert Chain(laws=(EMA(time_constant=4), PID(gain=1))).needs_setpoint
    assert not Chain(laws=(EMA(time_constant=4), Threshold(low=0, high=1, above=1, below=0))).needs_setpoint


def test_terms_tell_the_position_and_the_law() -> None:
    chain = Chain(laws=(Affine(gain=2.0), PID(gain=1, integral_time=5), SlewLimit(rate=1.0)))
    decision, _ = after(chain, given(3.0, 1.0, 0.5, moved=True))
    assert decision.terms == {"0.Affine": 6.0, "1.PID.P": -5.0, "1.PID.I": 5.5, "1.PID.D": 0.0, "1.PID": 0.5}


def test_a_limit_in_the_chain_does_not_wind_the_controller_up() -> None:
    chain = Chain(laws=(PID(gain=4.0, integral_time=20), SlewLimit(rate=0.02)))
    plant = FirstOrder(time_constant=10)
    run = simulate(chain, plant, setpoint=1.0, ticks=400)
    assert np.abs(np.diff(run.admitted)).max() <= 0.02 + 1e-12
    assert run.reading.max() < 1.25
    assert abs(run.reading[-1] - 1.0) < 0.01


def test_refuses_members_that_do_not_fit() -> None:
    two = MatrixPI(gain=((1, 0), (0, 1)), integral=((0, 0), (0, 0)), tracking_time=5)
    with pytest.raises(ValidationError, match="PID giving 1 to MatrixPI taking 2"):
        Chain(laws=(PID(gain=1), two))
    with pytest.raises(ValidationError):
        Chain(laws=())
    assert Chain(laws=(two,)).shape == (2, 2)


class Exponential(Law):
    """A user's own law, to be found by its kind."""

    scale: float = 1.0

    def init(self) -> tuple[()]:
        return ()

    def update(self, state, given):
        return Hold().update(state, given)._replace(command=(math.exp(-given.readings[0] * self.scale),))


def test_a_users_law_survives_json_inside_a_chain() -> None:
    chain = Chain(laws=(Exponential(scale=2.0), SlewLimit(rate=1.0)))
    again = Law.model_validate_json(chain.model_dump_json())
    assert again == chain
    assert isinstance(again.laws[0], Exponential)
