"""One suite for every simulated plant and every disturbance."""

from __future__ import annotations

import inspect
import json
import math

import numpy as np
import pytest
from pydantic import ValidationError

import homeostat.simulation
from homeostat.part import Part
from homeostat.simulation import (
    AnyPlant,
    Disturbance,
    Disturbed,
    Drift,
    DropoutGap,
    DropOuts,
    EdgeOfStability,
    FirstOrder,
    Integrator,
    LoadStep,
    NaNBursts,
    Noise,
    Optimum,
    Outliers,
    QuadraticAdam,
    QuadraticSGD,
    SecondOrder,
    TwoByTwo,
    UnstableFirstOrder,
)
from homeostat.state import from_data, to_data

DISTURBANCES: list[Disturbance] = [
    Noise(size=0.1),
    Noise(size=0.1, freedom=3),
    Drift(slope=0.01, wander=0.02),
    Outliers(probability=0.1, size=5.0),
    DropOuts(probability=0.2),
    NaNBursts(probability=0.2, length=3),
    LoadStep(at=5, size=-1.0),
]
PLANTS: list[AnyPlant] = [
    FirstOrder(gain=2.0, dead_time=3, noise=0.1, level=1.0),
    UnstableFirstOrder(dead_time=1, noise=0.1),
    SecondOrder(damping=0.2, dead_time=2, offset=-1.0),
    SecondOrder(time_constant=1e-3, damping=1e3),
    Integrator(balance=1.0),
    TwoByTwo(dead_times=(0, 2), noise=(0.1, 0.2), start=(1.0, -1.0)),
    Optimum(best=(1.0, 2.0, 3.0), curvature=(1.0, -1.0, 0.0), start=(0.0, 0.0, 0.0), time_constant=4, noise=0.1),
    QuadraticSGD(),
    QuadraticAdam(),
    EdgeOfStability(),
    DropoutGap(noise=0.01),
    Disturbed(plant=TwoByTwo(), disturbances=tuple(DISTURBANCES)),
    Disturbed(
        plant=Disturbed(plant=QuadraticSGD(), disturbances=(Drift(slope=1.0),)),
        disturbances=(LoadStep(at=2, size=1.0),),
    ),
]
every_plant = pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: type(plant).__name__)
TICKS = 30


def course(plant: AnyPlant, state: object, ticks: range) -> list[tuple[float | None, ...]]:
    """The readings over some ticks of one run, and the state after them at the end."""
    _, m = plant.shape
    draws = np.random.default_rng(0).standard_normal((TICKS, plant.draws + m))
    seen = []
    for tick in ticks:
        noise, knobs = tuple(draws[tick, m:].tolist()), tuple(draws[tick, :m].tolist())
        seen.append(plant.observe(state, noise))
        state = plant.advance(state, knobs, noise)
    return [*seen, state]


def test_the_suite_covers_every_plant_and_every_disturbance() -> None:
    for role, examples in ((AnyPlant, PLANTS), (Disturbance, DISTURBANCES)):
        own = {c for c in Part.kinds.values() if issubclass(c, role) and c.__module__.split(".")[0] == "homeostat"}
        concrete = {c for c in own if not inspect.isabstract(c)}
        assert concrete == {type(example) for example in examples}
        assert {c.__name__ for c in own} <= set(homeostat.simulation.__all__)


@every_plant
def test_a_plant_gives_as_many_numbers_as_its_shape_says(plant: AnyPlant) -> None:
    *seen, _ = course(plant, plant.init(), range(TICKS))
    assert {len(readings) for readings in seen} == {plant.shape[0]}
    numbers = [reading for readings in seen for reading in readings if reading is not None]
    assert {type(number) for number in numbers} == {float}
    assert any(map(math.isfinite, numbers))


@every_plant
@pytest.mark.parametrize("cut", [0, 1, 17])
def test_a_plant_cut_and_resumed_from_json_goes_on_bit_equally(plant: AnyPlant, cut: int) -> None:
    *whole, end = course(plant, plant.init(), range(TICKS))
    *_, state = course(plant, plant.init(), range(cut))
    restored = from_data(plant.init(), json.loads(json.dumps(to_data(state))))
    *rest, again = course(plant, restored, range(cut, TICKS))
    np.testing.assert_array_equal(np.array(rest, dtype=float), np.array(whole[cut:], dtype=float))
    assert again == end


@pytest.mark.parametrize("part", [*PLANTS, *DISTURBANCES], ids=lambda part: type(part).__name__)
def test_a_part_survives_json_and_is_frozen(part: AnyPlant | Disturbance) -> None:
    role = AnyPlant if isinstance(part, AnyPlant) else Disturbance
    assert role.model_validate_json(part.model_dump_json()) == part
    for name in type(part).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, getattr(part, name))
        with pytest.raises(ValidationError):
            role.model_validate({**part.model_dump(mode="json"), name: math.nan})
