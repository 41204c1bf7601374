"""A toy of gradient descent at the edge of stability."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from homeostat.simulation.plant import AnyPlant, Readings, Vector
from homeostat.simulation.quadratic import rate


class EdgeState(NamedTuple):
    """How far the weights stand off the valley's floor, and the valley's sharpness."""

    offset: float
    sharpness: float


class EdgeOfStability(AnyPlant):
    """Sharpens while it descends, until it oscillates, and is flattened by its oscillation; knob: ln(learning rate).

    With x the distance from the valley's floor along its steepest direction, S the sharpness (the largest eigenvalue
    of the Hessian) and r the learning rate,

    x <- (1 - r S) x + r `gradient_noise` * (a standard normal number),
    S <- S + r (`sharpening` - `flattening` x^2 / 2);   the reading is S.

    Below S = 2 / r it is stable and S rises by r `sharpening` a tick; above it x changes sign at every tick and grows,
    until x^2 = 2 sharpening / flattening, where S stays at 2 / r: the edge is where training goes by itself, and the
    knob decides where it is. Noise keeps x off 0, or S would rise for ever. The picture is that of slow sharpening,
    r^2 sharpening up to 0.01; beyond, x overshoots so far that S falls below 0 and does not return.

    Source: A. Damian, E. Nichani and J. D. Lee, Self-stabilization: the implicit bias of gradient descent at the edge
    of stability, ICLR 2023, section 4.
    """

    sharpening: float = Field(default=0.1, gt=0)
    flattening: float = Field(default=1.0, gt=0)
    gradient_noise: float = Field(default=1e-3, ge=0)
    offset: float = 0.01
    sharpness: float = Field(default=1.0, gt=0)

    def init(self) -> EdgeState:
        """Return the valley before the first step."""
        return EdgeState(self.offset, self.sharpness)

    def observe(self, state: EdgeState, noise: Vector) -> Readings:
        """Return the sharpness."""
        del noise
        return (state.sharpness,)

    def advance(self, state: EdgeState, knobs: Vector, noise: Vector) -> EdgeState:
        """Take one step."""
        r, (x, sharpness) = rate(knobs[0]), state
        return EdgeState(
            (1 - r * sharpness) * x + r * self.gradient_noise * noise[0],
            sharpness + r * (self.sharpening - self.flattening * x * x / 2),
        )
