"""Single readings far above those before."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from pydantic import Field

from homeostat.guards.detector import FINITE, LARGEST_SINGLE, Finding
from homeostat.guards.detectors.windowed import DEVIATIONS, Normal, Windowed
from homeostat.laws.law import bounded


class SpikeState(NamedTuple):
    """What is known of normal readings.

    Attributes:
        normal: their level and spread.
        peak: the farthest that one was above the level, which fades.
        greatest: the greatest reading that is no spike; None while too few are known.
    """

    normal: Normal = Normal()
    peak: float = 0.0
    greatest: float | None = None


class Spike(Windowed):
    """Finds single readings that stand out: far from the median of those before, and farther than any of late.

    With m the median of the last `window` normal readings, s the robust standard deviation of their logarithms, and p
    the farthest that a normal reading was above the median of its time (of the first ones: above the one before),
    halved every `memory` ticks, a reading y is a spike where all of these hold:

        ln y - ln m > threshold * s   and   y - m > (rise - 1) |m|   and   y - m > tail * p.

    The first is the identifier of Hampel. The losses of small batches, of noisy labels or of a network that has learned
    its data by heart have far heavier tails than it allows for: one example in a thousand costs ten thousand times the
    median. The third remembers such tails longer than the window does, and in the reading's own unit, in which they
    stay the same while the median sinks. Only ratios count: a reading in other units gives the same findings.

    s is the lesser of two: of the readings, and of the steps from one to the next over sqrt(2), which is free of a
    trend: while a loss falls from 2.4 to 0.1 the first alone would allow for a factor of 400. Of n readings, fewer than
    `window`, it counts sqrt(window / n) times, since few tell it badly.

    Without `log` the first is y - m > threshold * s, with s of the readings themselves.

    Attributes:
        threshold: robust standard deviations above the median.
        rise: least factor above the median.
        tail: factor on the farthest normal reading.
        memory: ticks in which that fades to a half.

    Source: F. R. Hampel, The influence curve and its role in robust estimation, 1974; L. Davies and U. Gather, The
    identification of multiple outliers, 1993. (ZClip, 2025, takes mean and standard deviation of gradient norms in
    exponential windows instead; one spike let through widens both.)
    """

    threshold: float = Field(default=6.0, gt=0, le=1e6)
    rise: float = Field(default=1.3, gt=1, le=1e6)
    tail: float = Field(default=2.5, ge=1, le=1e6)
    memory: float = Field(default=2000.0, gt=0, le=1e12)

    def init(self) -> SpikeState:
        """Return the state that knows nothing."""
        return SpikeState()

    def judge(self, state: SpikeState, reading: float, elapsed: int) -> tuple[Finding, SpikeState]:
        """Judge one reading; a normal one is remembered."""
        normal, peak, greatest = state
        if greatest is not None and reading > greatest:
            return self._found(normal, reading), state
        after = self.remember(normal, reading)
        if not self.knows(after):
            return Finding(False, 0.0), SpikeState(after)
        if self.knows(normal):
            peak = max(reading - self.reading(normal.center), peak * 0.5 ** (elapsed / self.memory))
        else:
            readings = [self.reading(place) for place in after.history]
            peak = max(0.0, *(second - first for first, second in pairwise(readings)))
        return Finding(False, 0.0), SpikeState(after, peak, self._greatest(after, peak))

    def screen(self, state: SpikeState) -> tuple[float, float]:
        """Return all up to the least spike."""
        return FINITE[0], LARGEST_SINGLE if state.greatest is None else min(state.greatest, LARGEST_SINGLE)

    def _found(self, normal: Normal, reading: float) -> Finding:
        spread = self._deviation(normal)
        score = (self.place(normal, reading) - normal.center) / spread if spread else 0.0
        how = f"{score:.3g} robust deviations" if spread else "far"
        return Finding(True, score, f"{reading:.4g} is {how} above {self.reading(normal.center):.4g}")

    def _greatest(self, normal: Normal, peak: float) -> float:
        level = self.reading(normal.center)
        far = self.reading(normal.center + self.threshold * self._deviation(normal))
        return bounded(max(far, level + max((self.rise - 1) * abs(level), self.tail * peak)))

    def _deviation(self, normal: Normal) -> float:
        if not normal.spread:
            return 0.0
        steps = [after - before for before, after in pairwise(normal.history)]
        middle = median(steps)
        trendless = DEVIATIONS / math.sqrt(2) * median(abs(step - middle) for step in steps)
        return min(normal.spread, trendless) * math.sqrt(self.window / len(normal.history))
