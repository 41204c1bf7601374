"""The frozen form of a loop."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from homeostat import CoupledLoop, Loop, Profile
from homeostat.actuators import ClipNorm, LearningRate
from homeostat.laws import (
    PID,
    Affine,
    Cascade,
    Chain,
    FeedForward,
    GainSchedule,
    Hold,
    LogIntegrator,
    MatrixPI,
    Select,
    SmithPredictor,
)
from homeostat.loop import AnyLoop
from homeostat.observers import GradientNorm, Loss
from tests.training import every_loop

SQUARE = MatrixPI(gain=((1.0, 0.0), (0.0, 1.0)), integral=((0.1, 0.0), (0.0, 0.1)), tracking_time=10.0)
PAIR = {"observers": (Loss(), GradientNorm()), "law": SQUARE, "actuators": (LearningRate(), ClipNorm())}


@pytest.mark.parametrize("loop", every_loop(), ids=lambda loop: loop.coupled().title)
def test_json_brings_back_an_equal_loop(loop):
    assert AnyLoop.model_validate_json(loop.model_dump_json()) == loop
    coupled = loop.coupled()
    assert AnyLoop.model_validate_json(coupled.model_dump_json()) == coupled
    assert coupled.coupled() is coupled


def test_the_general_form_keeps_every_field():
    loop = Loop(
        Loss(),
        Hold(),
        LearningRate(),
        setpoint=2.0,
        every=7,
        name="x",
        patience=3,
        safe=1.5,
        back_off=False,
        optional=True,
    )
    assert loop.coupled() == CoupledLoop(
        observers=(Loss(),),
        law=Hold(),
        actuators=(LearningRate(),),
        setpoints=(2.0,),
        every=7,
        name="x",
        patience=3,
        safe=(1.5,),
        back_off=False,
        optional=True,
    )


def test_names_are_made_of_the_knobs():
    assert Loop(Loss(), Hold(), LearningRate()).coupled().title == "learning_rate"
    assert CoupledLoop(**PAIR, setpoints=(1.0, 1.0)).title == "learning_rate+clip_norm"
    assert Loop(Loss(), Hold(), LearningRate(), name="mine").coupled().title == "mine"


def test_setpoints_may_follow_a_course():
    course = Profile(points=((0, 1.0), (10, 2.0)))
    loop = CoupledLoop(**PAIR, setpoints=(course, 5.0))
    assert loop.wanted(5) == (1.5, 5.0)
    assert loop.wanted(50) == (2.0, 5.0)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Loop(Loss(), PID(gain=1.0), LearningRate()), "must have 1 setpoints; got 0"),
        (lambda: Loop(Loss(), SQUARE, LearningRate(), setpoint=1.0), r"shape \(2, 2\) for 1 readings and 1 knobs"),
        (lambda: CoupledLoop(**PAIR), "must have 2 setpoints; got 0"),
        (lambda: CoupledLoop(**PAIR, setpoints=(1.0,)), "must have 2 setpoints; got 1"),
        (lambda: CoupledLoop(**PAIR, setpoints=(1.0, 1.0), safe=(1.0,)), "must give 2 knob values or none; got 1"),
        (
            lambda: CoupledLoop(**{**PAIR, "actuators": (ClipNorm(), ClipNorm())}, setpoints=(1.0, 1.0)),
            "actuators must differ",
        ),
        (lambda: Loop(Loss(), Hold(), LearningRate(), every=0), "every"),
        (lambda: Loop(Loss(), Hold(), LearningRate(), patience=0), "patience"),
        (lambda: Loop(Loss(), Hold(), LearningRate(), colour=3), "colour"),
        (lambda: Loop(Loss(), Hold(), LearningRate(), setpoint=float("nan")), "setpoint"),
        (lambda: Loop(Loss(), LearningRate(), Hold()), "law"),
        (lambda: Loop(Loss(), Hold()), "actuator"),
    ],
)
def test_nonsense_is_refused_at_construction(make, says):
    with pytest.raises(ValidationError, match=says):
        make()


RATIO, PLAIN = PID(gain=1.0, log_error=True), PID(gain=1.0)
THIRD = {"observers": (Loss(), Loss(), Loss()), "actuators": (LearningRate(),)}


@pytest.mark.parametrize("law", [RATIO, LogIntegrator(exponent=1.0), Chain(laws=(Affine(), RATIO))], ids=repr)
@pytest.mark.parametrize("setpoint", [0.0, -1.0, Profile(points=((0, 1.0), (9, 0.0)), interpolation="cosine")])
def test_a_setpoint_without_a_logarithm_is_refused_where_one_is_taken(law, setpoint):
    with pytest.raises(ValidationError, match=r"must be above 0, as it compares logarithms; got .*\. Choose"):
        Loop(Loss(), law, LearningRate(), setpoint=setpoint)


def test_only_the_setpoints_of_laws_on_logarithms_must_be_positive():
    law = FeedForward(
        feedback=Select(laws=(PLAIN, SmithPredictor(law=RATIO, gain=1, time_constant=1, dead_time=1))), forward=Hold()
    )
    assert law.positive_setpoints == (False, True, False)
    CoupledLoop(law=law, setpoints=(-1.0, 1.0, 0.0), **THIRD)
    with pytest.raises(ValidationError, match="above 0"):
        CoupledLoop(law=law, setpoints=(-1.0, 0.0, 0.0), **THIRD)
    assert Cascade(outer=PLAIN, inner=RATIO).positive_setpoints == (False, True)
    assert GainSchedule(points=((0.0, RATIO), (1.0, RATIO))).positive_setpoints == (True, False)
    assert SQUARE.positive_setpoints == (False, False)
