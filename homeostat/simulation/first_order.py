"""A plant that approaches a line with one time constant, after a dead time."""

from __future__ import annotations

import math
from typing import NamedTuple

from pydantic import Field

from homeostat.simulation.plant import SimulatedPlant


class FirstOrderState(NamedTuple):
    """The reading without noise, and the knob positions that have not acted yet, oldest first."""

    level: float
    pending: tuple[float, ...]


class FirstOrder(SimulatedPlant):
    """Approaches offset + gain * knob exponentially.

    level(t + 1) = a level(t) + (1 - a) (offset + gain * knob(t - dead_time)),   a = exp(-1 / time_constant);
    reading = level + noise * (a standard normal number). `time_constant` and `dead_time` are in ticks; before the
    first tick the level is `level` and the knob stood where it keeps it there.
    """

    gain: float = 1.0
    time_constant: float = Field(default=10.0, gt=0)
    dead_time: int = Field(default=0, ge=0)
    offset: float = 0.0
    noise: float = Field(default=0.0, ge=0)
    level: float = 0.0

    def init(self) -> FirstOrderState:
        """Return the plant at rest at `level`."""
        at_rest = (self.level - self.offset) / self.gain if self.gain else 0.0
        return FirstOrderState(self.level, (at_rest,) * self.dead_time)

    def read(self, state: FirstOrderState, noise: float) -> float:
        """Return the level with noise."""
        return state.level + self.noise * noise

    def step(self, state: FirstOrderState, knob: float) -> FirstOrderState:
        """Let the knob of `dead_time` ticks ago act for one tick."""
        acting, *pending = (*state.pending, knob)
        share = -math.expm1(-1 / self.time_constant)
        goal = self.offset + self.gain * acting
        return FirstOrderState(state.level + share * (goal - state.level), tuple(pending))
