"""What goes wrong with readings: noise, drift, outliers, drop-outs and bursts of NaN."""

from __future__ import annotations

import math

from pydantic import Field

from homeostat.simulation.disturbance import Disturbance
from homeostat.simulation.plant import Vector


def _chance(normal: float) -> float:
    """Return how likely a normal number is to lie further from 0: uniform over (0, 1], and independent of its sign."""
    return math.erfc(abs(normal) / math.sqrt(2))


class Noise(Disturbance):
    """Adds independent noise to a reading: normal, or with the heavy tails of Student's t.

    t = z_0 / sqrt((z_1^2 + ... + z_k^2) / k), all z standard normal, k = `freedom`: the variance is
    `size`^2 k / (k - 2), infinite for k <= 2.

    Attributes:
        size: standard deviation of the normal noise; the factor of t.
        freedom: degrees of freedom k; None for normal noise.
    """

    size: float = Field(ge=0)
    freedom: int | None = Field(default=None, ge=1, le=100)

    @property
    def draws(self) -> int:
        """One, and k more for the denominator of t."""
        return 1 + (self.freedom or 0)

    def apply(self, state: None, value: float, noise: Vector) -> float:
        """Add the noise."""
        del state
        if self.freedom is None:
            return value + self.size * noise[0]
        return value + self.size * noise[0] / math.sqrt(sum(z * z for z in noise[1:]) / self.freedom)


class Drift(Disturbance):
    """Carries a reading away: by `slope` a tick, and by a random walk of standard deviation `wander` a tick.

    The random walk makes the reading of a steady plant an integrated white noise, the disturbance that integral
    action is for.
    """

    slope: float = 0.0
    wander: float = Field(default=0.0, ge=0)

    def init(self) -> float:
        """Begin without an error."""
        return 0.0

    def apply(self, state: float, value: float, noise: Vector) -> float:
        """Add what has come together."""
        del noise
        return value + state

    def step(self, state: float, noise: Vector) -> float:
        """Drift on."""
        return state + self.slope + self.wander * noise[0]


class Outliers(Disturbance):
    """Throws a reading off by `size` up or down, at one tick in 1 / `probability`."""

    probability: float = Field(ge=0, le=1)
    size: float = Field(ge=0)

    def apply(self, state: None, value: float, noise: Vector) -> float:
        """Throw it off, or leave it."""
        del state
        return value + math.copysign(self.size, noise[0]) if _chance(noise[0]) < self.probability else value


class DropOuts(Disturbance):
    """Loses a reading, at one tick in 1 / `probability`: the loop makes no decision."""

    probability: float = Field(ge=0, le=1)

    def apply(self, state: None, value: float, noise: Vector) -> float | None:
        """Lose it, or leave it."""
        del state
        return None if _chance(noise[0]) < self.probability else value


class NaNBursts(Disturbance):
    """Makes a reading NaN for `length` ticks on end: the loop is held.

    After one tick in 1 / `probability`, of those outside of a burst and those that end one, a burst begins; the first
    reading is never NaN.
    """

    probability: float = Field(ge=0, le=1)
    length: int = Field(default=5, ge=1)

    def init(self) -> int:
        """Begin outside of a burst; the state is the number of ticks that a burst goes on."""
        return 0

    def apply(self, state: int, value: float, noise: Vector) -> float:
        """Give NaN in a burst."""
        del noise
        return math.nan if state else value

    def step(self, state: int, noise: Vector) -> int:
        """Count down, or begin a burst."""
        if state > 1:
            return state - 1
        return self.length if _chance(noise[0]) < self.probability else 0
