"""A plant that may overshoot by itself."""

from __future__ import annotations

import math

from pydantic import Field

from homeostat.simulation.delayed import DelayedPlant
from homeostat.simulation.plant import Vector


class SecondOrder(DelayedPlant):
    """Approaches offset + gain * knob as a damped oscillator does: T^2 y'' + 2 d T y' + y = offset + gain * knob.

    With T = `time_constant` in ticks and d = `damping`: below 1 it overshoots and rings with the period
    2 pi T / sqrt(1 - d^2), at 0 for ever, from 1 on it creeps. Between two ticks the knob stands still, and the step
    is exact: the response (y, y') less its goal is multiplied by exp(A), A = [[0, 1], [-1/T^2, -2 d/T]].
    """

    gain: float = 1.0
    time_constant: float = Field(default=10.0, gt=0)
    damping: float = Field(default=0.5, ge=0)
    offset: float = 0.0

    @property
    def order(self) -> int:
        """The value and its slope."""
        return 2

    @property
    def resting(self) -> float:
        """The knob position that aims at `level`."""
        return (self.level - self.offset) / self.gain if self.gain else 0.0

    def respond(self, response: Vector, knob: float) -> Vector:
        """Swing for one tick around the goal."""
        goal = self.offset + self.gain * knob
        distance, slope = response[0] - goal, response[1]
        stiffness, decay = 1 / (self.time_constant * self.time_constant), self.damping / self.time_constant
        # A + decay I has trace 0, so its square is (decay^2 - stiffness) I, and exp(A) = even + odd (A + decay I).
        even, odd = _damped(decay, decay * decay - stiffness)
        return (
            goal + (even + odd * decay) * distance + odd * slope,
            (even - odd * decay) * slope - odd * stiffness * distance,
        )


def _damped(decay: float, square: float) -> tuple[float, float]:
    """Return exp(-decay) cosh(r) and exp(-decay) sinh(r) / r for r = sqrt(square), which may be imaginary."""
    r = math.sqrt(abs(square))
    if square > 0:
        # Neither overflows, since r < decay.
        slow = math.exp(r - decay)
        return slow * (1 + math.exp(-2 * r)) / 2, slow * -math.expm1(-2 * r) / (2 * r)
    kept = math.exp(-decay)
    return kept * math.cos(r), kept * (math.sin(r) / r if r else 1.0)
