"""Sampled models against scipy's hold, and against a fine sampling where the dead time falls between decisions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from homeostat.dynamics.model import (
    ARXModel,
    DelayedModel,
    FirstOrderModel,
    IntegratorModel,
    PlantModel,
    SecondOrderModel,
)
from homeostat.errors import AnalysisError

MODELS: list[DelayedModel] = [
    FirstOrderModel(gain=-2.0, time_constant=8.0),
    SecondOrderModel(gain=1.5, time_constant=5.0, damping=0.3),
    SecondOrderModel(gain=1.5, time_constant=5.0, damping=1.0),
    SecondOrderModel(gain=1.5, time_constant=5.0, damping=4.0),
    IntegratorModel(slope=0.3),
]
CONTINUOUS = [
    ([-2.0], [8.0, 1.0]),
    ([1.5], [25.0, 3.0, 1.0]),
    ([1.5], [25.0, 10.0, 1.0]),
    ([1.5], [25.0, 40.0, 1.0]),
    ([0.3], [1.0, 0.0]),
]
every_model = pytest.mark.parametrize("model", MODELS, ids=lambda m: f"{type(m).__name__}-{getattr(m, 'damping', '')}")


def answer(model: PlantModel, every: int, knob: np.ndarray) -> np.ndarray:
    return signal.lfilter(*model.pulse(every), knob)


@pytest.mark.parametrize(("model", "continuous"), list(zip(MODELS, CONTINUOUS, strict=True)))
@pytest.mark.parametrize("every", [1, 7])
def test_without_dead_time_it_is_scipys_hold(model, continuous, every):
    above, below, _ = signal.cont2discrete(continuous, every)
    knob = np.random.default_rng(0).normal(size=60)
    np.testing.assert_allclose(answer(model, every, knob), signal.lfilter(above[0], below, knob), rtol=1e-8, atol=1e-10)


@every_model
@settings(max_examples=30)
@given(dead_time=st.integers(0, 40), every=st.integers(2, 9))
def test_a_dead_time_between_two_decisions_is_exact(model, dead_time, every):
    late = model.model_copy(update={"dead_time": float(dead_time)})
    knob = np.random.default_rng(dead_time).normal(size=30)
    # Tick by tick the dead time is a whole number of steps.
    fine = answer(late, 1, np.repeat(knob, every))[::every]
    np.testing.assert_allclose(answer(late, every, knob), fine, rtol=1e-7, atol=1e-9)


@every_model
def test_the_poles_are_the_continuous_ones(model):
    _, below = CONTINUOUS[MODELS.index(model)]
    np.testing.assert_allclose(np.poly(model.poles), np.divide(below, below[0]), atol=1e-12)


def test_arx_knows_poles_gain_and_its_period():
    model = ARXModel(past=(1.5, -0.56), drive=(0.2, 0.1), delay=2, every=10)
    np.testing.assert_allclose(model.poles, [0.8, 0.7])
    assert model.static_gain == pytest.approx(0.3 / 0.06)
    assert answer(model, 10, np.ones(400))[-1] == pytest.approx(model.static_gain)
    assert ARXModel(past=(1.0,), drive=(-0.5,)).static_gain == -np.inf
    with pytest.raises(AnalysisError, match="period of 10 ticks; got 5"):
        model.pulse(5)


@every_model
def test_models_survive_json(model):
    assert PlantModel.model_validate_json(model.model_dump_json()) == model
