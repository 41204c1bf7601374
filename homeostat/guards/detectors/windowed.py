"""What is known of normal readings: the level and the spread of the last of them, which outliers do not move."""

from __future__ import annotations

import math
from statistics import median
from typing import NamedTuple, Self

from pydantic import Field, model_validator

from homeostat.guards.detector import Detector
from homeostat.laws.law import LARGEST

# The standard deviation of normal numbers over their median absolute deviation.
DEVIATIONS = 1.4826
# Stands for the logarithm of a reading that has none.
LOWEST = -230.0


class Normal(NamedTuple):
    """What is known of normal readings, or of their logarithms.

    Attributes:
        history: the last normal ones, oldest first.
        floor: what is below counts as this; None while there are too few to tell the level of the start.
        center: their median.
        spread: their robust standard deviation.
    """

    history: tuple[float, ...] = ()
    floor: float | None = None
    center: float = 0.0
    spread: float = 0.0


class Windowed(Detector):
    """A detector that compares a reading with the last `window` normal ones, by median and median absolute deviation.

    Up to half of the remembered readings may be outliers that were not recognised, and neither number follows them.

    Attributes:
        window: normal readings remembered.
        fewest: readings before any is called faulty.
        least: share of the median of the first `fewest` readings, below which they count as that: of a loss that is
            near zero, ratios tell nothing. Only with `log`.
        log: compare logarithms, for readings of which ratios count; else differences, for those that may be negative.
    """

    window: int = Field(default=32, ge=3, le=1000)
    fewest: int = Field(default=8, ge=3)
    least: float = Field(default=0.01, ge=0, le=1e6)
    log: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.fewest > self.window:
            msg = (
                f"A detector's fewest must be at most its window; got {self.fewest} of {self.window}. "
                "Remember more readings, or judge after fewer."
            )
            raise ValueError(msg)
        return self

    def place(self, normal: Normal, reading: float) -> float:
        """Return what counts of a reading: itself or its logarithm, and the floor where it is below that."""
        place = reading
        if self.log:
            place = max(math.log(reading), LOWEST) if reading > 0 else LOWEST
        return place if normal.floor is None else max(place, normal.floor)

    def reading(self, place: float) -> float:
        """Return the reading that counts as `place`."""
        return math.exp(min(place, -LOWEST)) if self.log else place

    def remember(self, normal: Normal, reading: float) -> Normal:
        """Return what is known with one normal reading more."""
        history, floor = (*normal.history, self.place(normal, reading))[-self.window :], normal.floor
        if len(history) < self.fewest:
            return normal._replace(history=history)
        center = median(history)
        if floor is None:
            floor = -LARGEST
            if self.log:
                floor = max(center + math.log(self.least), LOWEST) if self.least else LOWEST
            history = tuple(max(x, floor) for x in history)
        return Normal(history, floor, center, DEVIATIONS * median(abs(x - center) for x in history))

    def knows(self, normal: Normal) -> bool:
        """Whether there were enough readings to judge by."""
        return normal.floor is not None
