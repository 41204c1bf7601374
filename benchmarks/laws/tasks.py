"""A task: a plant, the laws that are meant for it, and the conditions under which they are tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from homeostat.laws import (
    Law,
)
from homeostat.simulation import (
    AnyPlant,
    Disturbance,
    Disturbed,
    Noise,
    Outliers,
    TwoByTwo,
)

# Times the gain that a law was tuned for.
GAINS = (0.1, 1.0, 10.0)

Condition = Callable[[Any], AnyPlant]


class Task(NamedTuple):
    """One plant with the laws meant for it.

    Attributes:
        title: heading of its tables.
        plant: the plant whose gain is so many times the assumed one.
        laws: by the name shown, tuned for the assumed gain.
        goal: the reading to be reached, one a reading; NaN for one that is not judged.
        how: ticks, start, limits and, where it differs from the goal, the setpoint.
        conditions: what may come between the plant and the law.
    """

    title: str
    plant: Callable[[float], AnyPlant]
    laws: Mapping[str, Law]
    goal: tuple[float, ...]
    how: Mapping[str, Any]
    conditions: Mapping[str, Condition]


def clean(plant: AnyPlant) -> AnyPlant:
    """Leave the plant as it is."""
    return plant


def measured(plant: AnyPlant, disturbance: Disturbance) -> AnyPlant:
    """Let a disturbance fall on the readings."""
    return Disturbed(plant=plant, disturbances=(disturbance,))


def other(plant: Any, **fields: Any) -> AnyPlant:
    """Change fields of the plant, of which the laws do not hear."""
    found: AnyPlant = plant.model_copy(update=fields)
    return found


def later(plant: Any, by: int) -> AnyPlant:
    """Add to every dead time."""
    if isinstance(plant, TwoByTwo):
        return other(plant, dead_times=tuple(delay + by for delay in plant.dead_times))
    return other(plant, dead_time=plant.dead_time + by)


def conditions(size: float, dead_time: int = 0) -> dict[str, Condition]:
    """Return clean, noise of a tenth of `size`, outliers of ten times it at 2 % of the ticks, and more dead time."""
    found: dict[str, Condition] = {
        "clean": clean,
        "noise": partial(measured, disturbance=Noise(size=0.1 * size)),
        "outliers": partial(measured, disturbance=Outliers(probability=0.02, size=10 * size)),
    }
    return found | ({f"{dead_time} ticks more dead time": partial(later, by=dead_time)} if dead_time else {})
