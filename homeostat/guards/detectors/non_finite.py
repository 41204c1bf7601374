"""Readings that are no number, or infinite."""

from __future__ import annotations

from typing import ClassVar

from homeostat.guards.detector import FINITE, Detector, Finding


class NonFinite(Detector):
    """Finds readings that are not finite: the loss or gradient of a step that would destroy the weights."""

    learns: ClassVar[bool] = False

    def init(self) -> tuple[()]:
        """Return the empty state."""
        return ()

    def judge(self, state: tuple[()], reading: float, elapsed: int) -> tuple[Finding, tuple[()]]:
        """Find nothing wrong with a finite reading."""
        del reading, elapsed
        return Finding(False, 0.0), state

    def screen(self, state: tuple[()]) -> tuple[float, float]:
        """Return the range of finite numbers."""
        del state
        return FINITE
