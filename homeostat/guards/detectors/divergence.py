"""A level that rises far above the best there was, slowly or at once, and stays there."""

from __future__ import annotations

from statistics import median_low
from typing import NamedTuple

from pydantic import Field

from homeostat.guards.detector import FINITE, LARGEST_SINGLE, Detector, Finding


class DivergenceState(NamedTuple):
    """The last readings, oldest first; the first level there was, and the best; None before."""

    history: tuple[float, ...] = ()
    start: float | None = None
    best: float | None = None


class Divergence(Detector):
    """Finds that a reading which should fall has given back much of what was gained, for as long as half a window.

    The level y is the median of the last `window` readings: so no single one raises it, and it is above a limit only
    if half of them are. It has diverged where

        y > best + max(share * (start - best), (rise - 1) * |best|)

    with `best` the least level so far and `start` the first. In a run from scratch the first counts, and near zero too;
    in one that starts with a trained network, and gains little, the second. Units and (but for `rise`) the zero of the
    reading do not matter.

    Attributes:
        window: readings that make a level.
        share: of the gain since the start, which may be lost again.
        rise: factor of the best level, up to which nothing is wrong.
    """

    window: int = Field(default=25, ge=1, le=1000)
    share: float = Field(default=0.5, ge=0, le=1e6)
    rise: float = Field(default=1.5, gt=1, le=1e6)

    def init(self) -> DivergenceState:
        """Return the state without a level."""
        return DivergenceState()

    def judge(self, state: DivergenceState, reading: float, elapsed: int) -> tuple[Finding, DivergenceState]:
        """Judge the level, this reading included."""
        del elapsed
        history = (*state.history, reading)[-self.window :]
        if len(history) < self.window:
            return Finding(False, 0.0), state._replace(history=history)
        level = median_low(history)
        limit = self._limit(state)
        if limit is None or state.best is None:
            return Finding(False, 0.0), DivergenceState(history, level, level)
        after = DivergenceState(history, state.start, min(state.best, level))
        if level > limit:
            return Finding(True, level, f"a level of {level:.4g} is far above the best, {state.best:.4g}"), after
        return Finding(False, level), after

    def screen(self, state: DivergenceState) -> tuple[float, float]:
        """Return all, unless one reading more above the limit would be half of them."""
        others = state.history[1 - self.window :] if self.window > 1 else ()
        limit = self._limit(state)
        if limit is None or len(others) < self.window - 1:
            return FINITE
        spare = sum(x <= limit for x in others) - (self.window - 1) // 2
        if spare > 0:
            return FINITE
        return (FINITE[0], min(limit, LARGEST_SINGLE)) if spare == 0 else super().screen(state)

    def rest(self, state: DivergenceState) -> DivergenceState:
        """Return the state without the last readings."""
        return state._replace(history=())

    def _limit(self, state: DivergenceState) -> float | None:
        if state.start is None or state.best is None:
            return None
        return state.best + max(self.share * (state.start - state.best), (self.rise - 1) * abs(state.best))
