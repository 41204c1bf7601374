"""Responses of closed loops, sample by sample, against scipy.signal and python-control."""

from __future__ import annotations

import math

import control
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal

from homeostat.laws import PID
from homeostat.profile import Profile
from homeostat.simulation import (
    AnyPlant,
    Disturbed,
    FirstOrder,
    Integrator,
    LoadStep,
    SecondOrder,
    TwoByTwo,
    UnstableFirstOrder,
    simulate,
)
from tests.stability.closed_loop import closed, radius
from tests.stability.drawn import ACTIONS, PLANTS, coupled, directions, matrix_pi, pid

TICKS = 90
# All is 0 at the first decision, so that the law starts from rest; then the setpoints move as in a run.
WANTED = np.concatenate([[0.0], np.random.default_rng(3).normal(size=TICKS - 1).cumsum()])
COURSE = Profile(points=tuple(enumerate(WANTED)), interpolation="step")
Responses = NDArray[np.float64]


def assert_same(found: Responses, expected: Responses) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize("plant", PLANTS)
@given(data=st.data(), gain=st.floats(-2, 0.5), every=st.integers(1, 4))
@settings(max_examples=15)
def test_a_pid_answers_as_its_closed_loop_matrix(
    plant: str, actions: str, data: st.DataObject, gain: float, every: int
) -> None:
    """Stable or not: as long as it has not grown beyond what sixteen digits resolve."""
    drawn = data.draw(PLANTS[plant])
    law = pid(10**gain, data.draw(ACTIONS[actions]), drawn)
    assume(radius(law, drawn, every) < 1.2)
    found = simulate(law, drawn, ticks=TICKS, setpoint=COURSE, every=every).reading[::every]
    _, expected, _ = signal.dlsim((*closed(law, drawn, every), 1), WANTED[::every, None])
    assert_same(found, expected[:, 0])


@given(coupled, directions, st.floats(3, 60), st.floats(-2, 0.3), st.integers(1, 4))
@settings(max_examples=30)
def test_a_matrix_pi_answers_as_its_closed_loop_matrix(
    plant: AnyPlant, direction: tuple[tuple[float, float], ...], integral_time: float, gain: float, every: int
) -> None:
    law = matrix_pi(10**gain, direction, integral_time)
    assume(radius(law, plant, every) < 1.2)
    other = Profile(points=tuple(enumerate(-0.5 * WANTED**2)), interpolation="step")
    found = simulate(law, plant, ticks=TICKS, setpoint=(COURSE, other), every=every).reading[::every]
    wanted = np.stack([WANTED, -0.5 * WANTED**2], axis=1)
    _, expected, _ = signal.dlsim((*closed(law, plant, every), 1), wanted[::every])
    assert_same(found, expected)


# Loops that settle, written for python-control as transfer functions in s and z.
LOOPS = [
    (FirstOrder(gain=2.0, time_constant=12, dead_time=3), [2.0], [12, 1], 1.2),
    (SecondOrder(gain=-0.8, time_constant=4, damping=0.3, dead_time=1), [-0.8], [16, 2.4, 1], -0.25),
    (Integrator(gain=0.1, dead_time=2), [0.1], [1, 0], 1.5),
    (UnstableFirstOrder(gain=0.5, time_constant=20, dead_time=1), [0.5], [20, -1], 8.0),
]


def controller(law: PID) -> tuple[control.TransferFunction, control.TransferFunction]:
    """From the setpoint and from the reading to the command, in z."""
    z = control.tf("z")
    proportional, integral, derivative = law.gain, 0, 0
    if law.integral_time is not None:
        integral = law.gain / (2 * law.integral_time) * (z + 1) / (z - 1)
    if law.derivative_time:
        kept = math.exp(-law.derivative_filter / law.derivative_time)
        derivative = law.gain * law.derivative_time * (1 - kept) * (z - 1) / (z - kept)
    return law.setpoint_weight * proportional + integral, proportional + integral + derivative


@pytest.mark.parametrize(("plant", "numerator", "denominator", "gain"), LOOPS)
@pytest.mark.parametrize(
    "actions",
    [{}, {"integral_time": 15.0}, {"integral_time": 20.0, "derivative_time": 2.0, "setpoint_weight": 0.4}],
    ids=["P", "PI", "PID"],
)
def test_setpoint_and_load_responses_are_python_controls(
    plant: AnyPlant, numerator: list[float], denominator: list[float], gain: float, actions: dict[str, float]
) -> None:
    law = PID(gain=gain, **actions)
    assert radius(law, plant) < 1
    process = control.c2d(control.tf(numerator, denominator), 1, "zoh") / control.tf("z") ** plant.dead_time
    for_setpoint, for_reading = controller(law)
    ticks = np.arange(TICKS)
    load = np.where(ticks >= 30, 0.7, 0.0)
    closed_loop = control.feedback(process, for_reading)
    # The law's share of the setpoint enters beside the load; P alone is a number.
    shaped = control.forced_response(control.ss(for_setpoint * control.tf([1], [1], 1)), ticks, WANTED).outputs
    expected = control.forced_response(control.ss(closed_loop), ticks, shaped + load).outputs
    disturbed = Disturbed(plant=plant, disturbances=(LoadStep(at=30, size=0.7),))
    found = simulate(law, disturbed, ticks=TICKS, setpoint=COURSE).reading
    assert_same(found, expected)


def test_a_coupled_response_is_python_controls() -> None:
    plant = TwoByTwo(interaction=(0.6, -0.4), time_constants=((5, 9), (14, 7)), dead_times=(1, 2))
    law = matrix_pi(0.8, ((1.0, -0.5), (0.3, 0.9)), 12.0)
    z, places = control.tf("z"), [(0, 0), (0, 1), (1, 0), (1, 1)]
    paths = [
        control.c2d(control.tf([plant.gain[i][j]], [plant.time_constants[i][j], 1]), 1, "zoh")
        / z ** plant.dead_times[j]
        for i, j in places
    ]
    actions = [law.gain[i][j] + law.integral[i][j] / 2 * (z + 1) / (z - 1) for i, j in places]
    # Each is a matrix of four transfer functions: row sums of what the columns' inputs are spread over.
    add, spread = np.kron(np.eye(2), [[1.0, 1.0]]), np.kron([[1.0], [1.0]], np.eye(2))
    process, decide = (add * control.append(*map(control.ss, four)) * spread for four in (paths, actions))
    loop = control.feedback(process * decide, np.eye(2))
    wanted = np.stack([WANTED, np.r_[0, np.ones(TICKS - 1)]])
    expected = control.forced_response(loop, np.arange(TICKS), wanted).outputs
    step = Profile(points=((0, 0.0), (1, 1.0)), interpolation="step")
    assert_same(simulate(law, plant, ticks=TICKS, setpoint=(COURSE, step)).reading.T, expected)
