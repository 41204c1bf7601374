"""A disturbance of the plant's input."""

from __future__ import annotations

from typing import ClassVar, Literal

from homeostat.simulation.disturbance import Disturbance
from homeostat.simulation.plant import Vector


class LoadStep(Disturbance):
    """Shifts what reaches the plant by `size` from tick `at` on, unseen by the loop: as if the knob had slipped."""

    at: int
    size: float

    on: ClassVar[Literal["readings", "knobs"]] = "knobs"

    @property
    def draws(self) -> int:
        """There is no chance in it."""
        return 0

    def init(self) -> int:
        """Count ticks from 0."""
        return 0

    def apply(self, state: int, value: float, noise: Vector) -> float:
        """Add the load once it is there."""
        del noise
        return value + self.size if state >= self.at else value

    def step(self, state: int, noise: Vector) -> int:
        """Count."""
        del noise
        return state + 1
