"""The role of a simulated plant: one knob in, one reading out."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from homeostat.part import Part


class SimulatedPlant(Part):
    """Answers a knob with a reading, as a training run would. Its state is data apart from it."""

    @abstractmethod
    def init(self) -> Any:
        """Return the state before the first tick."""

    @abstractmethod
    def read(self, state: Any, noise: float) -> float:
        """Return what an observer sees at this tick; `noise` is a standard normal number."""

    @abstractmethod
    def step(self, state: Any, knob: float) -> Any:
        """Return the state one tick later, the knob standing at `knob` meanwhile."""
