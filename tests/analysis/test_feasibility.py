import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.analysis import FirstOrderModel, IntegratorModel, feasibility
from homeostat.errors import AnalysisError
from homeostat.laws import PID
from homeostat.simulation import FirstOrder, simulate


@settings(max_examples=30)
@given(st.floats(-5, 5).filter(lambda g: abs(g) > 0.1), st.floats(-3, 3), st.floats(-8, 8))
def test_what_is_feasible_is_reached_and_nothing_else(gain, offset, setpoint):
    model = FirstOrderModel(gain=gain, time_constant=5, offset=offset)
    found = feasibility(model, setpoint, low=-1.0, high=1.0)
    plant = FirstOrder(gain=gain, time_constant=5, offset=offset)
    run = simulate(PID(gain=0.5 / gain, integral_time=5), plant, ticks=400, setpoint=setpoint, low=-1.0, high=1.0)
    held = min(max(setpoint, found.lowest), found.highest)
    np.testing.assert_allclose(run.reading[-1], held, atol=1e-3)
    assert found.feasible == (held == setpoint)
    assert ("Widen the limits" in found.reason) == (not found.feasible)
    assert model.offset + model.gain * found.knob == pytest.approx(setpoint, abs=1e-9)


def test_an_integrator_is_held_where_its_balance_is_within_limits():
    model = IntegratorModel(slope=0.1, balance=0.5)
    inside, outside = (feasibility(model, 7.0, low=-1.0, high=high) for high in (1.0, 0.4))
    assert inside.feasible
    assert (inside.lowest, inside.highest, inside.knob) == (-math.inf, math.inf, 0.5)
    assert not outside.feasible
    assert "runs away" in outside.reason
    assert not feasibility(IntegratorModel(slope=0.0), 0.0, low=-1, high=1).feasible


def test_a_plant_without_gain_holds_one_reading():
    dead = FirstOrderModel(gain=0.0, time_constant=1.0, offset=2.0)
    assert feasibility(dead, 2.0, low=0.0, high=1.0).feasible
    assert not feasibility(dead, 2.1, low=0.0, high=1.0).feasible


def test_limits_in_the_wrong_order_are_refused():
    for setpoint, low in ((0.0, 1.0), (0.0, math.nan), (math.nan, 0.0)):
        with pytest.raises(AnalysisError, match="low must be below high"):
            feasibility(IntegratorModel(slope=1.0), setpoint, low=low, high=1.0)
