"""A plant whose reading is best at knob positions that nobody knows."""

from __future__ import annotations

import math
from typing import Self

from pydantic import Field, model_validator

from homeostat.simulation.plant import AnyPlant, Readings, Vector


class Optimum(AnyPlant):
    """Gives value + sum_i curvature_i (x_i - best_i)^2 / 2, one reading of as many knobs as `best` has numbers.

    x_i is knob i itself, or follows it with `time_constant` (in ticks) as a `FirstOrder` does: a static nonlinearity
    behind a lag. Positive curvatures make a least reading, negative ones a greatest. Before the first tick x is at
    `start`.

    Raises:
        pydantic.ValidationError: `curvature` or `start` are not as long as `best`.
    """

    best: Vector = Field(default=(0.0,), min_length=1)
    curvature: Vector = (1.0,)
    value: float = 0.0
    time_constant: float = Field(default=0.0, ge=0)
    noise: float = Field(default=0.0, ge=0)
    start: Vector = (1.0,)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, numbers in (("curvature", self.curvature), ("start", self.start)):
            if len(numbers) != len(self.best):
                msg = (
                    f"Optimum.{name} must have a number for each of the {len(self.best)} knobs in best; got {numbers}. "
                    "Give one a knob."
                )
                raise ValueError(msg)
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """One reading of all knobs."""
        return 1, len(self.best)

    def init(self) -> Vector:
        """Return `start`."""
        return self.start

    def observe(self, state: Vector, noise: Vector) -> Readings:
        """Return the height above the optimum, with noise."""
        terms = zip(self.curvature, state, self.best, strict=True)
        return (self.value + sum(c * (x - b) * (x - b) for c, x, b in terms) / 2 + self.noise * noise[0],)

    def advance(self, state: Vector, knobs: Vector, noise: Vector) -> Vector:
        """Follow the knobs."""
        del noise
        share = -math.expm1(-1 / self.time_constant) if self.time_constant else 1.0
        return tuple([x + share * (knob - x) for x, knob in zip(state, knobs, strict=True)])
