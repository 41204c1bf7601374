"""Linear plants against scipy: the same samples, from the differential equation on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from homeostat.laws import Hold, Schedule
from homeostat.profile import Profile
from homeostat.simulation import (
    DelayedPlant,
    FirstOrder,
    Integrator,
    SecondOrder,
    TwoByTwo,
    UnstableFirstOrder,
    simulate,
)

TICKS = 60

# Each plant as numerator and denominator of its transfer function, which scipy samples with a zero-order hold.
PLANTS = [
    (FirstOrder(gain=2.0, time_constant=8), [2.0], [8, 1]),
    (FirstOrder(gain=-0.3, time_constant=0.5), [-0.3], [0.5, 1]),
    (SecondOrder(gain=1.5, time_constant=4, damping=0.2), [1.5], [16, 1.6, 1]),
    (SecondOrder(gain=1.5, time_constant=4, damping=1.0), [1.5], [16, 8, 1]),
    (SecondOrder(gain=-2.0, time_constant=0.7, damping=3.0), [-2.0], [0.49, 4.2, 1]),
    (SecondOrder(time_constant=2, damping=0.0), [1.0], [4, 0, 1]),
    (Integrator(gain=0.2), [0.2], [1, 0]),
    (UnstableFirstOrder(gain=0.7, time_constant=12), [0.7], [12, -1]),
]
DELAYED = st.sampled_from([plant for plant, _, _ in PLANTS])


@pytest.mark.parametrize("dead_time", [0, 1, 6])
@pytest.mark.parametrize(("plant", "numerator", "denominator"), PLANTS)
def test_a_plant_is_its_transfer_function_sampled(
    plant: DelayedPlant, numerator: list[float], denominator: list[float], dead_time: int
) -> None:
    knob = np.random.default_rng(0).normal(size=TICKS)
    course = Schedule(profile=Profile(points=tuple(enumerate(knob)), interpolation="step"))
    delayed = np.concatenate([np.zeros(dead_time), knob])[:TICKS]
    b, a, _ = signal.cont2discrete((numerator, denominator), 1.0)
    expected = signal.lfilter(np.ravel(b), a, delayed)
    run = simulate(course, plant.model_copy(update={"dead_time": dead_time}), ticks=TICKS)
    np.testing.assert_allclose(run.reading, expected, rtol=1e-9, atol=1e-10)


@given(DELAYED, st.floats(-10, 10), st.integers(0, 5))
@settings(max_examples=40)
def test_a_plant_starts_at_rest(plant: DelayedPlant, level: float, dead_time: int) -> None:
    resting = plant.model_copy(update={"level": level, "dead_time": dead_time})
    run = simulate(Hold(), resting, ticks=20, start=resting.resting)
    np.testing.assert_allclose(run.reading, level, rtol=1e-9, atol=1e-9)


@given(st.floats(-5, 5), st.floats(0.1, 3), st.floats(5, 50))
@settings(max_examples=40)
def test_offset_and_balance_move_the_resting_knob(offset: float, gain: float, time_constant: float) -> None:
    fields = {"gain": gain, "offset": offset, "time_constant": time_constant}
    for plant in (FirstOrder(**fields), SecondOrder(**fields), UnstableFirstOrder(**fields)):
        assert simulate(Hold(), plant, ticks=10, start=plant.resting).reading == pytest.approx(0.0, abs=1e-9)
    assert simulate(Hold(), Integrator(balance=offset), ticks=10, start=offset).reading == pytest.approx(0.0)


@pytest.mark.parametrize("knob", [0, 1])
def test_the_coupled_plant_is_four_first_order_paths(knob: int) -> None:
    plant = TwoByTwo(
        gains=(2.0, -1.0),
        interaction=(0.3, -0.8),
        time_constants=((5, 20), (40, 1)),
        dead_times=(0, 3),
        offset=(1.0, -2.0),
    )
    state = plant.init()
    knobs = tuple(float(i == knob) for i in (0, 1))
    readings = []
    for _ in range(TICKS):
        readings.append(plant.observe(state, (0.0, 0.0)))
        state = plant.advance(state, knobs, (0.0, 0.0))
    gain = np.array([[2.0, 0.6], [0.8, -1.0]])
    for row, offset in enumerate(plant.offset):
        path = FirstOrder(
            gain=gain[row, knob],
            time_constant=plant.time_constants[row][knob],
            dead_time=plant.dead_times[knob],
        )
        alone = simulate(Hold(), path, ticks=TICKS, start=1.0).reading
        np.testing.assert_allclose(np.array(readings)[:, row], offset + alone, rtol=1e-12)


def test_the_coupled_plant_rests_where_it_starts() -> None:
    plant = TwoByTwo(interaction=(0.9, 0.4), dead_times=(2, 1), start=(3.0, -1.0), offset=(0.5, 0.0))
    state = plant.init()
    expected = plant.observe(state, (0.0, 0.0))
    assert expected == pytest.approx((0.5 + 3.0 - 0.9, 1.2 - 1.0))
    for _ in range(5):
        state = plant.advance(state, plant.start, (0.0, 0.0))
    assert plant.observe(state, (0.0, 0.0)) == pytest.approx(expected)
