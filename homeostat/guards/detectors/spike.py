"""Single readings far above those before."""

from __future__ import annotations

import math
from statistics import median
from typing import NamedTuple, Self

from pydantic import Field, model_validator

from homeostat.guards.detector import FINITE, LARGEST_SINGLE, Detector, Finding

# The standard deviation of normal numbers over their median absolute deviation.
DEVIATIONS = 1.4826
# Stands for the logarithm of a reading that has none.
LOWEST = -230.0


class SpikeState(NamedTuple):
    """What is known of normal readings.

    Attributes:
        history: the last normal ones (their logarithms with `log`), oldest first.
        floor: readings below count as this one; None while there are too few to tell the level of the start.
        center: median of the history.
        spread: its robust standard deviation.
        greatest: the greatest reading that is no spike; None while too few are known.
    """

    history: tuple[float, ...] = ()
    floor: float | None = None
    center: float = 0.0
    spread: float = 0.0
    greatest: float | None = None


class Spike(Detector):
    """Finds single readings that stand out: far from the median of those before, and above all of them.

    With x the logarithm of a reading, m the median of the last `window` normal ones, d their median absolute deviation
    and g the greatest of them, a reading is a spike where

        x - m > threshold * 1.4826 d   and   x - g > ln rise   and   reading > least * (median of the first readings).

    The first is the identifier of Hampel, which up to half of outliers do not mislead. Losses of small batches, under
    noisy labels or of an overfitted network have heavier tails than it allows for: the second asks for more than was
    seen lately, the third for more than is lost of what was learned. Only ratios count: a reading in other units gives
    the same findings.

    Without `log` (a reading that may be negative) differences count: x is the reading, and the second asks for
    x - g > (rise - 1) max(|m|, g - m); the third is left out.

    Attributes:
        window: normal readings remembered.
        fewest: readings before anything is called a spike.
        threshold: robust standard deviations above the median.
        rise: factor above the greatest remembered reading.
        least: share of the level at the start below which no reading is a fault.
        log: compare logarithms.

    Source: F. R. Hampel, The influence curve and its role in robust estimation, 1974; L. Davies and U. Gather, The
    identification of multiple outliers, 1993. (ZClip, 2025, takes mean and standard deviation of gradient norms in
    exponential windows instead, which a spike that is let through once widens.)
    """

    window: int = Field(default=64, ge=3, le=1000)
    fewest: int = Field(default=16, ge=3)
    threshold: float = Field(default=6.0, gt=0, le=1e6)
    rise: float = Field(default=1.5, gt=1, le=1e6)
    least: float = Field(default=0.01, ge=0, le=1e6)
    log: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.fewest > self.window:
            msg = (
                f"A spike's fewest must be at most its window; got {self.fewest} of {self.window}. "
                "Remember more readings, or judge after fewer."
            )
            raise ValueError(msg)
        return self

    def init(self) -> SpikeState:
        """Return the state that knows nothing."""
        return SpikeState()

    def judge(self, state: SpikeState, reading: float, elapsed: int) -> tuple[Finding, SpikeState]:
        """Judge one reading; a normal one is remembered."""
        del elapsed
        score = (self._place(reading) - state.center) / state.spread if state.spread else 0.0
        if state.greatest is not None and reading > state.greatest:
            usual = math.exp(state.center) if self.log else state.center
            how = f"{score:.3g} robust deviations" if state.spread else "far"
            return Finding(True, score, f"{reading:.4g} is {how} above the usual {usual:.4g}"), state
        return Finding(False, score), self._remember(state, reading)

    def screen(self, state: SpikeState) -> tuple[float, float]:
        """Return all up to the least spike."""
        return FINITE[0], LARGEST_SINGLE if state.greatest is None else min(state.greatest, LARGEST_SINGLE)

    def _place(self, reading: float) -> float:
        if not self.log:
            return reading
        return max(math.log(reading), LOWEST) if reading > 0 else LOWEST

    def _remember(self, state: SpikeState, reading: float) -> SpikeState:
        place = self._place(reading)
        history = (*state.history, place if state.floor is None else max(place, state.floor))[-self.window :]
        if len(history) < self.fewest:
            return state._replace(history=history)
        floor, center = state.floor, median(history)
        if self.log and floor is None:
            floor = center + math.log(self.least) if self.least else LOWEST
            history = tuple(max(x, floor) for x in history)
        spread = DEVIATIONS * median(abs(x - center) for x in history)
        return SpikeState(history, floor, center, spread, self._bound(max(history), center, spread))

    def _bound(self, greatest: float, center: float, spread: float) -> float:
        far = center + self.threshold * spread
        if not self.log:
            return max(far, greatest + (self.rise - 1) * max(abs(center), greatest - center))
        return math.exp(min(max(far, greatest + math.log(self.rise)), -LOWEST))
