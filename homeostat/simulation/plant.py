"""The role of a simulated plant: knobs in, readings out."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from homeostat.part import Part

Vector = tuple[float, ...]
Readings = tuple[float | None, ...]


class AnyPlant(Part):
    """Answers m knobs with n readings, as a training run would. Its state is data apart from it.

    In every tick it is observed first and then advances, both with the same standard normal numbers, `draws` of
    them: a plant has no random generator of its own, so a run is a function of its parts and one seed.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """Number of readings given and of knobs taken, as a law's `shape`."""
        return 1, 1

    @property
    def draws(self) -> int:
        """How many independent standard normal numbers a tick takes."""
        return self.shape[0]

    @abstractmethod
    def init(self) -> Any:
        """Return the state before the first tick."""

    @abstractmethod
    def observe(self, state: Any, noise: Vector) -> Readings:
        """Return what the observers see at this tick; None where one sees nothing."""

    @abstractmethod
    def advance(self, state: Any, knobs: Vector, noise: Vector) -> Any:
        """Return the state one tick later, the knobs standing at `knobs` meanwhile."""


class SimulatedPlant(AnyPlant):
    """Answers one knob with one reading, by a rule without chance; only the measurement is noisy."""

    @abstractmethod
    def read(self, state: Any, noise: float) -> float:
        """Return what an observer sees at this tick; `noise` is a standard normal number."""

    @abstractmethod
    def step(self, state: Any, knob: float) -> Any:
        """Return the state one tick later, the knob standing at `knob` meanwhile."""

    def observe(self, state: Any, noise: Vector) -> Readings:
        """Return the one reading."""
        return (self.read(state, noise[0]),)

    def advance(self, state: Any, knobs: Vector, noise: Vector) -> Any:
        """Step with the one knob."""
        del noise
        return self.step(state, knobs[0])
