"""Margins and poles against python-control, and the border of stability against simulation."""

from __future__ import annotations

import math

import control
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.analysis import (
    ARXModel,
    FirstOrderModel,
    IntegratorModel,
    SecondOrderModel,
    margins,
)
from homeostat.analysis.stability import law_pulse
from homeostat.errors import AnalysisError
from homeostat.laws import EMA, PID, Affine, Chain, Threshold
from homeostat.simulation import FirstOrder, simulate

LAWS = [
    PID(gain=0.5),
    PID(gain=0.4, integral_time=12),
    PID(gain=0.5, integral_time=15, derivative_time=4),
    Chain(laws=(EMA(time_constant=4), Affine(gain=0.5), PID(gain=0.7))),
]
MODELS = [
    FirstOrderModel(gain=2.0, time_constant=20, dead_time=7.5),
    SecondOrderModel(gain=1.0, time_constant=6.0, damping=0.6, dead_time=2.0),
    IntegratorModel(slope=0.05, dead_time=4.0),
    ARXModel(past=(1.2, -0.4), drive=(0.1, 0.1), delay=2, every=3),
]


def transfer(pulse):
    """A pulse transfer as python-control writes it, in powers of z."""
    size = max(map(len, pulse))
    return control.tf(*(np.pad(part, (0, size - len(part))) for part in pulse), 3)


@pytest.mark.parametrize("law", LAWS, ids=["P", "PI", "PID", "chain"])
@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
def test_margins_and_poles_are_python_controls(law, model):
    loop = transfer(law_pulse(law, 3)) * transfer(model.pulse(3))
    gain, phase, distance, _, crossover, _ = control.stability_margins(loop, method="poly")
    found = margins(law, model, every=3)
    assert found.stable
    assert found.gain == pytest.approx(gain, rel=1e-8)
    assert found.phase == pytest.approx(phase, rel=1e-8)
    if math.isfinite(phase):
        # Of several crossings the delay margin is of the one reached first, not of the least phase.
        assert found.delay <= np.radians(phase) / crossover * (1 + 1e-8)
    else:
        assert found.delay == math.inf
    assert found.sensitivity == pytest.approx(1 / distance, rel=1e-6)
    poles = sorted(np.abs(control.feedback(loop, 1).poles()), reverse=True)
    np.testing.assert_allclose(np.abs(found.poles), poles[: len(found.poles)], rtol=1e-6, atol=1e-8)


@given(
    gain=st.floats(0.2, 5.0),
    time_constant=st.floats(2.0, 30.0),
    dead_time=st.integers(0, 8),
    integral_time=st.floats(3.0, 60.0),
)
@settings(max_examples=8)
def test_the_gain_margin_is_where_the_simulation_turns_unstable(gain, time_constant, dead_time, integral_time):
    model = FirstOrderModel(gain=gain, time_constant=time_constant, dead_time=dead_time)
    law = PID(gain=0.05 / gain, integral_time=integral_time)
    border = law.gain * margins(law, model, every=1).gain
    plant = FirstOrder(gain=gain, time_constant=time_constant, dead_time=dead_time)
    for factor, stable in ((0.9, True), (1.1, False)):
        changed = law.model_copy(update={"gain": factor * border})
        # A margin of the P part alone: with the integral time fixed, L scales as a whole.
        assert margins(changed, model, every=1).stable == stable
        error = np.abs(1 - simulate(changed, plant, ticks=3000, setpoint=1.0).reading)
        assert (error[-200:].max() < error[200:400].max() + 1e-12) == stable


def test_the_delay_margin_is_the_dead_time_that_the_loop_can_bear():
    law, model = PID(gain=0.5, integral_time=15), FirstOrderModel(gain=2.0, time_constant=20, dead_time=3)
    delay = margins(law, model, every=1).delay
    for more, stable in ((math.floor(delay), True), (math.ceil(delay), False)):
        assert margins(law, model.model_copy(update={"dead_time": 3.0 + more}), every=1).stable == stable


def test_the_wrong_sign_is_unstable():
    assert not margins(PID(gain=-0.5, integral_time=10), MODELS[0], every=1).stable


def test_no_period_is_refused():
    with pytest.raises(AnalysisError, match="every must be at least 1 tick; got 0"):
        margins(LAWS[1], MODELS[0], every=0)


def test_a_law_that_is_not_linear_is_refused():
    with pytest.raises(AnalysisError, match="must be asked of PID, EMA, Affine or a Chain of them; got Threshold"):
        margins(Threshold(low=0, high=1, above=0, below=1), MODELS[0], every=1)
