"""What simulated processes with dead time and measurement noise share."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

from pydantic import Field

from homeostat.simulation.plant import SimulatedPlant, Vector


class DelayedState(NamedTuple):
    """The response without noise (its value, then its derivatives), and the knob positions that have not acted yet."""

    response: Vector
    pending: Vector


class DelayedPlant(SimulatedPlant):
    """Answers the knob of `dead_time` ticks ago, and shows its answer with noise.

    Before the first tick it is at rest at `level`: the knob stood where it keeps it there.

    Attributes:
        dead_time: in ticks.
        noise: standard deviation of the reading's noise.
        level: the reading before the first tick.
    """

    dead_time: int = Field(default=0, ge=0)
    noise: float = Field(default=0.0, ge=0)
    level: float = 0.0

    @property
    @abstractmethod
    def resting(self) -> float:
        """The knob position at which `level` stays as it is."""

    @abstractmethod
    def respond(self, response: Vector, knob: float) -> Vector:
        """Return the response one tick after `response`, `knob` acting meanwhile."""

    @property
    def order(self) -> int:
        """Length of the response."""
        return 1

    def init(self) -> DelayedState:
        """Return the plant at rest."""
        return DelayedState((self.level, *(0.0,) * (self.order - 1)), (self.resting,) * self.dead_time)

    def read(self, state: DelayedState, noise: float) -> float:
        """Return the response's value with noise."""
        return state.response[0] + self.noise * noise

    def step(self, state: DelayedState, knob: float) -> DelayedState:
        """Let the knob of `dead_time` ticks ago act for one tick."""
        queue = (*state.pending, knob)
        return DelayedState(self.respond(state.response, queue[0]), queue[1:])
