"""The worst of what the training loop reports about its own loss."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from homeostat.metrics import PeakReader
from homeostat.observers.observer import Observer, Reduction
from homeostat.plant import Plant


class LossPeak(Observer):
    """Reads the greatest value that a metric had in one tick since the last reading: what a mean would hide.

    A value that is NaN makes the reading NaN. Calls within a tick are averaged, as for `Loss`. Over several ranks it
    is the greatest of theirs, so that one rank's garbage is not thinned by the others, and NaN where one of them is
    not finite.

    Attributes:
        metric: name under which the training loop reports it.
    """

    reduction: ClassVar[Reduction] = "max"

    metric: str = "loss"

    def init(self, plant: Plant) -> PeakReader:
        """Start an interval."""
        return plant.metrics.peak_reader(self.metric)

    def observe(self, plant: Plant, memory: PeakReader) -> Tensor | float | None:
        """Return the greatest value since the last reading."""
        del plant
        return memory.take()
