"""One observer at work: its cadence, its hooks, and what it has measured."""

from __future__ import annotations

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from homeostat.observers.observer import Observer
from homeostat.pace import Pace
from homeostat.plant import Plant


class Sensor:
    """One observer at work on one plant.

    Args:
        observer: what is measured.
        pace: when.
        plant: what it is measured on.

    Raises:
        AttachError: the plant has nothing of this kind to measure.
    """

    def __init__(self, observer: Observer, pace: Pace, plant: Plant) -> None:
        self.observer = observer
        self.pace = pace
        self.memory = observer.init(plant)
        self.history = observer.start()
        self.handles: tuple[RemovableHandle, ...] = observer.attach(plant, self.memory)
        # A measurement of an update is taken after one step and rides the vector of the next.
        self.measured: Tensor | float | None = None
        # Kept apart until the step is over: with a closure, what the step before measured is read in between.
        self.proposed: Tensor | float | None = None

    def close(self) -> None:
        """Remove the observer's hooks."""
        for handle in self.handles:
            handle.remove()
