"""A plant without an equilibrium of its own."""

from __future__ import annotations

from homeostat.simulation.delayed import DelayedPlant
from homeostat.simulation.plant import Vector


class Integrator(DelayedPlant):
    """Rises by gain * (knob - balance) a tick and never returns by itself.

    level(t + 1) = level(t) + gain * (knob(t - dead_time) - balance); reading = level + noise * (a standard normal
    number).

    Attributes:
        gain: rise a tick per unit of the knob.
        balance: the knob position at which the level stands still.
    """

    gain: float = 0.1
    balance: float = 0.0

    @property
    def resting(self) -> float:
        """The same at every level."""
        return self.balance

    def respond(self, response: Vector, knob: float) -> Vector:
        """Rise for one tick."""
        return (response[0] + self.gain * (knob - self.balance),)
