"""Readings at a limit or beyond it."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from homeostat.guards.detector import FINITE, Detector, Finding

LEAST_SINGLE = float(np.finfo(np.float32).tiny)


class OutOfRangeState(NamedTuple):
    """How many readings in a row were out of range."""

    run: int = 0


class OutOfRange(Detector):
    """Finds readings at `low` or below, or at `high` or above, for limits that are known beforehand.

    An update as large as the weights themselves (`high`=1 of an update ratio), units of which hardly one lives, a
    gradient that is nothing (`low`=0).

    Attributes:
        low: at or below it a reading is out of range; None for no such limit.
        high: at or above it a reading is out of range; None for no such limit.
        patience: readings in a row that must be.

    Raises:
        pydantic.ValidationError: no limit is given, or low is not below high.
    """

    low: float | None = Field(default=None, ge=-1e38, le=1e38)
    high: float | None = Field(default=None, ge=-1e38, le=1e38)
    patience: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low is None and self.high is None:
            msg = "OutOfRange must have a limit; got neither low nor high. Give one of them."
            raise ValueError(msg)
        least, greatest = self._normal()
        if least > greatest:
            msg = f"OutOfRange's low must be below its high; got {self.low} and {self.high}. Leave a gap between."
            raise ValueError(msg)
        return self

    def init(self) -> OutOfRangeState:
        """Return the count of none."""
        return OutOfRangeState()

    def judge(self, state: OutOfRangeState, reading: float, elapsed: int) -> tuple[Finding, OutOfRangeState]:
        """Judge one reading and those before it."""
        del elapsed
        if (self.low is None or reading > self.low) and (self.high is None or reading < self.high):
            return Finding(False, 0.0), OutOfRangeState()
        count = state.run + 1
        if count < self.patience:
            return Finding(False, count), OutOfRangeState(count)
        side, limit = ("below", self.low) if self.low is not None and reading <= self.low else ("above", self.high)
        for_long = f" for {count} readings" if count > 1 else ""
        return Finding(True, count, f"{reading:.4g} is at {limit:g} or {side} it{for_long}"), OutOfRangeState(count)

    def screen(self, state: OutOfRangeState) -> tuple[float, float]:
        """Return the range, or all while patience lasts."""
        return FINITE if state.run + 1 < self.patience else self._normal()

    def rest(self, state: OutOfRangeState) -> OutOfRangeState:
        """Return the count of none."""
        del state
        return OutOfRangeState()

    def _normal(self) -> tuple[float, float]:
        """Return the least and the greatest number in range that every device can tell from the limits."""
        least = FINITE[0] if self.low is None else _next(self.low, 1.0)
        return least, FINITE[1] if self.high is None else _next(self.high, -1.0)


def _next(limit: float, sign: float) -> float:
    """Return a normal number of single precision that is next to `limit`, above it for `sign` 1, below it for -1."""
    beside = float(np.nextafter(np.float32(limit), np.float32(math.copysign(math.inf, sign))))
    # A device may take smaller ones for zero.
    return beside if abs(beside) >= LEAST_SINGLE else math.copysign(LEAST_SINGLE, sign)
