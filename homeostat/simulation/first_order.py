"""Plants with one time constant: towards a line, or away from it."""

from __future__ import annotations

import math

from pydantic import Field

from homeostat.simulation.delayed import DelayedPlant
from homeostat.simulation.plant import Vector


class FirstOrder(DelayedPlant):
    """Approaches offset + gain * knob exponentially, after a dead time.

    level(t + 1) = a level(t) + (1 - a) (offset + gain * knob(t - dead_time)),   a = exp(-1 / time_constant);
    reading = level + noise * (a standard normal number). `time_constant` and `dead_time` are in ticks; before the
    first tick the level is `level` and the knob stood where it keeps it there.
    """

    gain: float = 1.0
    time_constant: float = Field(default=10.0, gt=0)
    offset: float = 0.0

    @property
    def resting(self) -> float:
        """The knob position that aims at `level`."""
        return (self.level - self.offset) / self.gain if self.gain else 0.0

    def respond(self, response: Vector, knob: float) -> Vector:
        """Go a share of the way to the line."""
        share = -math.expm1(-1 / self.time_constant)
        return (response[0] + share * (self.offset + self.gain * knob - response[0]),)


class UnstableFirstOrder(DelayedPlant):
    """Runs away from offset - gain * knob exponentially: without a controller it stays nowhere.

    level(t + 1) = a level(t) + (1 - a) (offset - gain * knob(t - dead_time)),   a = exp(1 / time_constant), which is
    K / (T s - 1) sampled; a positive gain raises the level, and the pole lies at a > 1. Otherwise as `FirstOrder`.

    No controller without lead holds it unless dead_time < time_constant.
    """

    gain: float = 1.0
    time_constant: float = Field(default=10.0, gt=0)
    offset: float = 0.0

    @property
    def resting(self) -> float:
        """The knob position that balances it at `level`."""
        return (self.offset - self.level) / self.gain if self.gain else 0.0

    def respond(self, response: Vector, knob: float) -> Vector:
        """Go on from the balance by a share of the distance."""
        growth = math.expm1(1 / self.time_constant)
        return (response[0] + growth * (response[0] + self.gain * knob - self.offset),)
