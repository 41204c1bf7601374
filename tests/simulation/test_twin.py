"""The real `Homeostat` on a tiny module and `simulate` decide alike, to the last bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.optim import SGD

from homeostat import CoupledLoop, Homeostat
from homeostat.actuators import Actuator
from homeostat.errors import HomeostatWarning
from homeostat.laws import PID, Chain, Decision, Input, Law, LossRatchet, MatrixPI, Median
from homeostat.observers import Loss
from homeostat.plant import Plant
from homeostat.simulation import (
    AnyPlant,
    Disturbance,
    Disturbed,
    DropOuts,
    FirstOrder,
    LoadStep,
    NaNBursts,
    Noise,
    SimulatedRun,
    TwoByTwo,
    simulate,
)
from homeostat.simulation.plant import Vector

WIDE = 1e9
TICKS = 60


class Slot(Actuator):
    """A knob of the test's own, in full precision: a dial would round to float32."""

    index: int

    def targets(self, plant: Plant) -> frozenset[str]:
        del plant
        return frozenset({f"slot{self.index}"})

    def read(self, plant: Plant, memory: Any) -> float:
        del memory
        return plant.model.slots[self.index]

    def write(self, plant: Plant, memory: Any, value: float) -> float:
        del memory
        plant.model.slots[self.index] = value
        return value


def train(
    law: Law, plant: AnyPlant, options: dict[str, Any], seed: int
) -> tuple[dict[str, NDArray[np.float64]], list[list[float]]]:
    """Let a real controller steer `plant`; returns its records by column, and where the knobs stood at each tick."""
    n, m = law.shape
    model = torch.nn.Linear(1, 1)
    model.slots = [options["start"]] * m
    fields = {**{name: options[name] for name in ("low", "high", "slew")}, "quantum": options["quantum"] or None}
    loop = CoupledLoop(
        observers=tuple(Loss(metric=f"reading{i}") for i in range(n)),
        law=law,
        actuators=tuple(Slot(index=i, **fields) for i in range(m)),
        setpoints=(options["setpoint"],) * n,
        every=options["every"],
        name="twin",
        patience=1000,
    )
    optimizer = SGD(model.parameters(), lr=0.1)
    homeostat = Homeostat([loop]).attach(model, optimizer)
    noise = np.random.default_rng(seed).standard_normal((plant.draws, TICKS)).T
    state, stood = plant.init(), []
    for tick in range(TICKS):
        draws = tuple(noise[tick].tolist())
        # Between two decisions a metric would be averaged, where `simulate` takes the reading of the tick.
        if tick % options["every"] == 0:
            seen = plant.observe(state, draws)
            homeostat.observe(**{f"reading{i}": y for i, y in enumerate(seen) if y is not None})
        optimizer.step()
        stood.append(list(model.slots))
        state = plant.advance(state, tuple(model.slots), draws)
    homeostat.detach()
    return homeostat.trace.loop("twin"), stood


class Told(Law):
    """Answers with all that it was told, so that none of it may differ."""

    def init(self) -> tuple[()]:
        return ()

    def update(self, state: Any, given: Input) -> Decision:
        error = given.setpoints[0] - given.readings[0]
        told = 0.9 * given.admitted[0] + given.moved[0] + 0.01 * given.elapsed - 0.03 * given.held
        return Decision((told + 0.1 * error,), state, {})


class Blind(Disturbance):
    """Begins with readings that are NaN, then missing."""

    def init(self) -> int:
        return 0

    def apply(self, state: int, value: float, noise: Vector) -> float | None:
        del noise
        return value if state >= 8 else (math.nan if state < 4 else None)

    def step(self, state: int, noise: Vector) -> int:
        del noise
        return state + 1


FLAWS = (
    Noise(size=0.3),
    DropOuts(probability=0.15),
    NaNBursts(probability=0.1, length=3),
    LoadStep(at=20, size=0.4),
    Blind(),
)
SCALAR = [
    Told(),
    PID(gain=0.8, integral_time=6.0, derivative_time=2.0, setpoint_weight=0.7),
    PID(gain=-3.0, integral_time=2.0, dead_band=0.1),
    PID(gain=1.5),
    Chain(laws=(Median(window=3), PID(gain=0.5, integral_time=4.0))),
    LossRatchet(step=0.05),
]
COUPLED = [MatrixPI(gain=((1.0, -0.4), (0.2, 0.8)), integral=((0.2, 0.0), (-0.1, 0.3)), tracking_time=5)]


OPTIONS = st.fixed_dictionaries(
    {
        "setpoint": st.floats(-3, 3),
        "start": st.floats(-0.9, 0.9),
        "low": st.sampled_from([-0.9, -20.0, -WIDE]),
        "high": st.sampled_from([0.9, 20.0, WIDE]),
        "slew": st.sampled_from([0.02, 0.3, WIDE]),
        "quantum": st.sampled_from([0.0, 0.25, 16.0]),
        "every": st.integers(1, 4),
    }
)


@pytest.mark.parametrize("law", [*SCALAR, *COUPLED], ids=lambda law: type(law).__name__)
@given(options=OPTIONS, flaws=st.lists(st.sampled_from(FLAWS), min_size=1, unique=True), seed=st.integers(0, 1000))
@settings(max_examples=15)
def test_simulate_decides_as_the_real_controller_does(
    law: Law, options: dict[str, Any], flaws: list[Disturbance], seed: int
) -> None:
    bare = FirstOrder(gain=1.3, time_constant=5, dead_time=2) if law.shape == (1, 1) else TwoByTwo(dead_times=(0, 2))
    plant = Disturbed(plant=bare, disturbances=tuple(flaws))
    assert_same(
        simulate(law, plant, ticks=TICKS, seed=seed, back_off=True, **options), *train(law, plant, options, seed)
    )


def test_both_back_off_alike() -> None:
    law, plant = PID(gain=22.0, integral_time=20.0), FirstOrder(time_constant=10)
    options = {"setpoint": 1.0, "start": 0.0, "low": -9.0, "high": 9.0, "slew": WIDE, "quantum": 0.0, "every": 1}
    with pytest.warns(HomeostatWarning, match="oscillates"):
        columns, stood = train(law, plant, options, seed=0)
    assert columns["backed off"].any()
    assert_same(simulate(law, plant, ticks=TICKS, back_off=True, **options), columns, stood)


def assert_same(run: SimulatedRun, columns: dict[str, NDArray[np.float64]], stood: list[list[float]]) -> None:
    """Compare every decision, bit by bit."""
    ticks = columns["tick"].astype(int)
    assert ticks.size > 5
    simulated = {name: values.reshape(TICKS, -1) for name, values in run._asdict().items()}
    np.testing.assert_array_equal(simulated["delivered"], stood)
    for name in ("command", "admitted", "delivered"):
        for i, column in enumerate(simulated[name].T):
            np.testing.assert_array_equal(column[ticks], columns[f"{name}.{i}"])
    if simulated["reading"].shape[1] == 1:  # of several readings a missing one is decided with its last value
        np.testing.assert_array_equal(simulated["reading"][ticks, 0], columns["reading.0"])
    missing = np.setdiff1d(np.arange(TICKS), ticks)
    for name in ("command", "admitted", "delivered"):
        np.testing.assert_array_equal(simulated[name][missing[missing > 0]], simulated[name][missing[missing > 0] - 1])
