"""Plants that the library does not offer: a divergence under a penalty, and those with two readings of one knob."""

from __future__ import annotations

import math
from abc import abstractmethod

from pydantic import Field

from homeostat.simulation import AnyPlant
from homeostat.simulation.delayed import DelayedPlant
from homeostat.simulation.plant import Readings, Vector


class Penalised(DelayedPlant):
    """A divergence that grows from nothing towards gain / weight; the knob is ln(weight), 0 before the first tick.

    y(t + 1) = y(t) + (1 - exp(-1 / time_constant)) (gain exp(-knob(t - dead_time)) - y(t)).
    """

    gain: float = 1.0
    time_constant: float = Field(default=30.0, gt=0)

    @property
    def resting(self) -> float:
        """The weight is 1 until it is moved."""
        return 0.0

    def respond(self, response: Vector, knob: float) -> Vector:
        """Go a share of the way."""
        goal = self.gain * math.exp(-max(knob, -700.0))
        return (response[0] - math.expm1(-1 / self.time_constant) * (goal - response[0]),)


class TwoReadings(AnyPlant):
    """A knob that moves two lags, disturbed by a load that comes at tick `at`; its state: the tick and both levels."""

    gain: float = 1.0
    at: int = 400

    @property
    def shape(self) -> tuple[int, int]:
        """Two readings, one knob."""
        return 2, 1

    @abstractmethod
    def goals(self, levels: Vector, knob: float, load: float) -> Vector:
        """Return where both levels are heading."""

    @abstractmethod
    def shown(self, levels: Vector, load: float) -> Readings:
        """Return the readings."""

    @property
    @abstractmethod
    def times(self) -> tuple[float, float]:
        """Time constants of both levels."""

    def init(self) -> tuple[int, Vector]:
        """Begin at rest."""
        return 0, (0.0, 0.0)

    def observe(self, state: tuple[int, Vector], noise: Vector) -> Readings:
        """Return the readings; noise is a disturbance's."""
        del noise
        return self.shown(state[1], float(state[0] >= self.at))

    def advance(self, state: tuple[int, Vector], knobs: Vector, noise: Vector) -> tuple[int, Vector]:
        """Let both lags go on for a tick."""
        del noise
        tick, levels = state
        goals = self.goals(levels, knobs[0], float(tick >= self.at))
        steps = zip(levels, goals, self.times, strict=True)
        return tick + 1, tuple(x - math.expm1(-1 / time) * (goal - x) for x, goal, time in steps)


class Nested(TwoReadings):
    """A slow lag behind a fast one, on which the load of -1 falls; the readings are the slow level and the fast."""

    @property
    def times(self) -> tuple[float, float]:
        """Slow, fast."""
        return 40.0, 4.0

    def goals(self, levels: Vector, knob: float, load: float) -> Vector:
        """The fast level follows knob and load, the slow one the fast."""
        return levels[1], self.gain * knob - load

    def shown(self, levels: Vector, load: float) -> Readings:
        """Both levels."""
        del load
        return levels


class Loaded(TwoReadings):
    """A lag on which a measured load of -1 falls; the readings are the level and the load."""

    @property
    def times(self) -> tuple[float, float]:
        """The level's; the second is not used."""
        return 20.0, 1.0

    def goals(self, levels: Vector, knob: float, load: float) -> Vector:
        """Follow the knob less the load."""
        del levels
        return self.gain * knob - load, 0.0

    def shown(self, levels: Vector, load: float) -> Readings:
        """The level and the load."""
        return levels[0], load


class Guarded(TwoReadings):
    """A knob that raises a wanted quantity, and with the load one that must not rise above its limit."""

    @property
    def times(self) -> tuple[float, float]:
        """Of the wanted quantity, and of the limited one."""
        return 20.0, 10.0

    def goals(self, levels: Vector, knob: float, load: float) -> Vector:
        """The load doubles the limited one."""
        del levels
        return self.gain * knob, self.gain * knob * (0.5 + load / 2)

    def shown(self, levels: Vector, load: float) -> Readings:
        """Both."""
        del load
        return levels


class Switching(TwoReadings):
    """A lag whose gain is ten times as great once the load is there; the readings are the level and the load."""

    @property
    def times(self) -> tuple[float, float]:
        """The level's; the second is not used."""
        return 20.0, 1.0

    def goals(self, levels: Vector, knob: float, load: float) -> Vector:
        """Follow the knob, ten times as far under load."""
        del levels
        return self.gain * (1 + 9 * load) * knob, 0.0

    def shown(self, levels: Vector, load: float) -> Readings:
        """The level and the load."""
        return levels[0], load
