"""The role of a detector: a reading in, a finding out, in pure floats."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

from homeostat.laws.law import bounded
from homeostat.part import Part

# The largest finite number of single precision: a screen may be compared on a device that has no other.
LARGEST_SINGLE = 3.4028234663852886e38
FINITE = (-LARGEST_SINGLE, LARGEST_SINGLE)


class Finding(NamedTuple):
    """What a detector says of one reading.

    Attributes:
        faulty: whether it tells of a fault.
        score: how far it is out, in the detector's own unit; 0 where that was not worth finding out.
        text: why it is faulty, as one clause without the reading's name: "41 is 12.3 robust deviations above 2.1".
    """

    faulty: bool
    score: float
    text: str = ""


class Detector(Part):
    """Tells faulty readings from normal ones. Never touches a tensor, a model or a clock.

    As with a law, the state is data apart from the detector: a (named) tuple of floats, integers, booleans, strings
    and None, which `update` takes and returns. What is known of the normal level is learned from normal readings only.

    Attributes:
        learns: whether normal readings change the state; if not, one within the screen need never be looked at.
    """

    learns: ClassVar[bool] = True

    @abstractmethod
    def init(self) -> Any:
        """Return the state before the first reading."""

    def update(self, state: Any, reading: float, elapsed: int = 1) -> tuple[Finding, Any]:
        """Judge one reading, `elapsed` ticks after the last; one that is not finite is faulty whatever the detector.

        A faulty reading does not enter what is known of the normal level.
        """
        if not math.isfinite(reading):
            return Finding(True, math.inf, f"{reading} is not finite"), state
        return self.judge(state, bounded(reading), elapsed)

    @abstractmethod
    def judge(self, state: Any, reading: float, elapsed: int) -> tuple[Finding, Any]:
        """Judge one finite reading within +-`homeostat.laws.law.LARGEST`."""

    def screen(self, state: Any) -> tuple[float, float]:
        """Return (least, greatest): a reading between them, both included, would not be faulty if it came next.

        So it needs no closer look where no look is due. Nothing is between (inf, -inf), and NaN never is.
        """
        del state
        return math.inf, -math.inf

    def rest(self, state: Any) -> Any:
        """Return the state after an intervention: evidence is forgotten, what is known of the normal level is kept."""
        return state
