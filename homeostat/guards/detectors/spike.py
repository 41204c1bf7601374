"""Single readings far above those before."""

from __future__ import annotations

import math
from typing import NamedTuple

from pydantic import Field

from homeostat.guards.detector import FINITE, LARGEST_SINGLE, Finding
from homeostat.guards.detectors.windowed import Normal, Windowed


class SpikeState(NamedTuple):
    """What is known of normal readings, and the greatest one that is no spike (None while too few are known)."""

    normal: Normal = Normal()
    greatest: float | None = None


class Spike(Windowed):
    """Finds single readings that stand out: far from the median of those before, and above all of them.

    With x the logarithm of a reading, m the median of the last `window` normal ones, d their median absolute deviation
    and g the greatest of them, a reading is a spike where

        x - m > threshold * 1.4826 d   and   x - g > ln rise.

    The first is the identifier of Hampel. Losses of small batches, under noisy labels or of an overfitted network have
    heavier tails than it allows for: the second asks for more than was seen lately, and `least` for more than a part
    of what was learned. Only ratios count: a reading in other units gives the same findings.

    Without `log` the second is x - g > (rise - 1) max(|m|, g - m).

    Attributes:
        threshold: robust standard deviations above the median.
        rise: factor above the greatest remembered reading.

    Source: F. R. Hampel, The influence curve and its role in robust estimation, 1974; L. Davies and U. Gather, The
    identification of multiple outliers, 1993. (ZClip, 2025, takes mean and standard deviation of gradient norms in
    exponential windows instead; one spike let through widens both.)
    """

    threshold: float = Field(default=6.0, gt=0, le=1e6)
    rise: float = Field(default=1.5, gt=1, le=1e6)

    def init(self) -> SpikeState:
        """Return the state that knows nothing."""
        return SpikeState()

    def judge(self, state: SpikeState, reading: float, elapsed: int) -> tuple[Finding, SpikeState]:
        """Judge one reading; a normal one is remembered."""
        del elapsed
        normal, greatest = state
        score = (self.place(normal, reading) - normal.center) / normal.spread if normal.spread else 0.0
        if greatest is not None and reading > greatest:
            how = f"{score:.3g} robust deviations" if normal.spread else "far"
            return Finding(True, score, f"{reading:.4g} is {how} above {self.reading(normal.center):.4g}"), state
        normal = self.remember(normal, reading)
        return Finding(False, score), SpikeState(normal, self._greatest(normal))

    def screen(self, state: SpikeState) -> tuple[float, float]:
        """Return all up to the least spike."""
        return FINITE[0], LARGEST_SINGLE if state.greatest is None else min(state.greatest, LARGEST_SINGLE)

    def _greatest(self, normal: Normal) -> float | None:
        if not self.knows(normal):
            return None
        highest = max(normal.history)
        gap = math.log(self.rise) if self.log else (self.rise - 1) * max(abs(normal.center), highest - normal.center)
        return self.reading(max(normal.center + self.threshold * normal.spread, highest + gap))
