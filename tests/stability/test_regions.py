"""The region of stable gains: eigenvalues and Jury's table say where it ends, simulation finds the same border."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from homeostat.analysis import FirstOrderModel, IntegratorModel, PlantModel, SecondOrderModel, margins
from homeostat.laws import Law
from homeostat.profile import Profile
from homeostat.simulation import AnyPlant, FirstOrder, Integrator, SecondOrder, simulate
from tests.stability.closed_loop import closed, jury, radius
from tests.stability.drawn import ACTIONS, PLANTS, coupled, directions, matrix_pi, pid

GRID = np.geomspace(1e-3, 1e3, 25)
STEP = Profile(points=((0, 0.0), (1, 1.0)), interpolation="step")


class Side(NamedTuple):
    """Ticks between decisions, a factor on the gain at a border, and the number of the border."""

    every: int
    step: float
    which: int


sides = st.builds(Side, st.sampled_from([1, 1, 3]), st.floats(1.03, 1.3), st.integers(0, 1))


def borders(at: Callable[[float], float]) -> list[float]:
    """The gains at which the radius crosses 1."""
    beyond = np.array([at(gain) > 1 for gain in GRID])
    return [
        math.exp(brentq(lambda log: at(math.exp(log)) - 1, *np.log(GRID[i : i + 2])))
        for i in np.flatnonzero(beyond[1:] != beyond[:-1])
    ]


def moves(law: Law, plant: AnyPlant, every: int, decisions: int) -> np.ndarray:
    """How far the readings go from decision to decision after a step of every setpoint."""
    setpoint = STEP if law.shape == (1, 1) else (STEP, STEP)
    run = simulate(law, plant, ticks=decisions * every, setpoint=setpoint, every=every)
    readings = run.reading[::every].reshape(decisions, -1)
    return np.abs(np.diff(readings, axis=0)).max(axis=1)


def check(law: Law, plant: AnyPlant, every: int) -> bool:
    """Assert that the loop does what its eigenvalues say; returns whether that is to settle."""
    size = radius(law, plant, every)
    # As long as it takes to shrink or to grow a hundred thousand times.
    decisions = math.ceil(math.log(1e5) / abs(math.log(size))) + 40
    assume(decisions < 1500)
    moved = moves(law, plant, every, decisions)
    quarter = decisions // 4
    if size < 1:
        assert moved[-quarter:].max() < 0.02 * moved.max()
    else:
        assert moved[-quarter:].max() > 50 * moved[:quarter].max()
    return size < 1


def check_both_sides(make: Callable[[float], Law], plant: AnyPlant, side: Side) -> None:
    """Assert it just below and just above one of the borders, where the answers must differ."""
    found = borders(lambda gain: radius(make(gain), plant, side.every))
    assume(found)
    border = found[side.which % len(found)]
    below, above = (check(make(gain), plant, side.every) for gain in (border / side.step, border * side.step))
    assert below != above


@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize("plant", PLANTS)
@given(data=st.data(), side=sides)
@settings(max_examples=8)
def test_a_pid_is_stable_up_to_the_border_and_not_beyond(
    plant: str, actions: str, data: st.DataObject, side: Side
) -> None:
    drawn, parts = data.draw(PLANTS[plant]), data.draw(ACTIONS[actions])
    check_both_sides(lambda gain: pid(gain, parts, drawn), drawn, side)


@given(plant=coupled, direction=directions, integral_time=st.floats(3, 60), side=sides)
@settings(max_examples=15)
def test_a_matrix_pi_is_stable_up_to_the_border_and_not_beyond(
    plant: AnyPlant, direction: tuple[tuple[float, float], ...], integral_time: float, side: Side
) -> None:
    check_both_sides(lambda gain: matrix_pi(gain, direction, integral_time), plant, side)


@pytest.mark.parametrize("actions", ACTIONS)
@given(data=st.data(), kind=st.sampled_from(sorted(PLANTS)), gain=st.floats(-3, 3), every=st.integers(1, 4))
@settings(max_examples=40)
def test_jurys_table_agrees_with_the_eigenvalues(
    actions: str, data: st.DataObject, kind: str, gain: float, every: int
) -> None:
    plant = data.draw(PLANTS[kind])
    law = pid(10**gain, data.draw(ACTIONS[actions]), plant)
    size = radius(law, plant, every)
    assume(abs(size - 1) > 1e-6)
    assert jury(np.poly(closed(law, plant, every).a)) == (size < 1)


def model(plant: AnyPlant) -> PlantModel:
    """What the library's analysis would know of the plant."""
    match plant:
        case FirstOrder(gain=gain, time_constant=time, dead_time=delay):
            return FirstOrderModel(gain=gain, time_constant=time, dead_time=delay)
        case SecondOrder(gain=gain, time_constant=time, damping=damping, dead_time=delay):
            return SecondOrderModel(gain=gain, time_constant=time, damping=damping, dead_time=delay)
        case Integrator(gain=gain, dead_time=delay):
            return IntegratorModel(slope=gain, dead_time=delay)
    raise TypeError(plant)


@pytest.mark.parametrize("actions", ACTIONS)
@given(
    data=st.data(),
    kind=st.sampled_from(["first order", "second order", "integrator"]),
    gain=st.floats(-2, 1),
    every=st.integers(1, 4),
)
@settings(max_examples=25)
def test_the_library_s_margins_have_the_same_poles(
    actions: str, data: st.DataObject, kind: str, gain: float, every: int
) -> None:
    plant = data.draw(PLANTS[kind])
    law = pid(10**gain, data.draw(ACTIONS[actions]), plant)
    size = radius(law, plant, every)
    assume(abs(size - 1) > 1e-6)
    found = margins(law, model(plant), every=every)
    # A double pole is known to half of the digits.
    assert abs(found.poles[0]) == pytest.approx(size, rel=1e-6)
    assert found.stable == (size < 1)
