"""A run that does not get better."""

from __future__ import annotations

from statistics import median_low
from typing import NamedTuple

from pydantic import Field

from homeostat.guards.detector import FINITE, Detector, Finding


class StallState(NamedTuple):
    """The last readings, oldest first; the least level so far (None before the first); ticks since it was reached."""

    history: tuple[float, ...] = ()
    best: float | None = None
    waited: int = 0


class Stall(Detector):
    """Finds that the level of a reading has not fallen for `ticks`. Nothing is broken then: let it only raise an alarm.

    The level is the median of the last `window` readings; it has fallen where it is below the best one by more than
    `margin` of it. After the finding the next comes as many ticks later.

    Attributes:
        ticks: without improvement.
        margin: least relative improvement.
        window: readings that make a level.
    """

    ticks: int = Field(default=2000, ge=1)
    margin: float = Field(default=1e-3, ge=0, le=1)
    window: int = Field(default=25, ge=1, le=1000)

    def init(self) -> StallState:
        """Return the state without a level."""
        return StallState()

    def judge(self, state: StallState, reading: float, elapsed: int) -> tuple[Finding, StallState]:
        """Judge the time since the last improvement."""
        history = (*state.history, reading)[-self.window :]
        if len(history) < self.window:
            return Finding(False, 0.0), StallState(history)
        level, best, waited = median_low(history), state.best, state.waited + elapsed
        if best is None or level < best - self.margin * abs(best):
            return Finding(False, 0.0), StallState(history, level)
        if waited < self.ticks:
            return Finding(False, waited), StallState(history, best, waited)
        text = f"a level of {level:.4g} is not below {best:.4g}, the best {waited} ticks ago"
        return Finding(True, waited, text), StallState(history, best)

    def screen(self, state: StallState) -> tuple[float, float]:
        """Return all: time is at fault, not a reading, and it is told where a look is due."""
        del state
        return FINITE

    def rest(self, state: StallState) -> StallState:
        """Return the state that waits anew."""
        return StallState(best=state.best)
