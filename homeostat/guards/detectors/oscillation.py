"""A loop that swings by itself."""

from __future__ import annotations

import math
from typing import NamedTuple

from pydantic import Field

from homeostat.guards.detector import FINITE, Detector, Finding


class OscillationState(NamedTuple):
    """The half period under way and those before.

    Attributes:
        side: sign of the error in it; 0 before the first.
        length: errors in it.
        area: sum of their sizes.
        peak: the greatest of them.
        lengths: of the half periods before, oldest first.
        areas: of the half periods before, oldest first.
    """

    side: float = 0.0
    length: int = 0
    area: float = 0.0
    peak: float = 0.0
    lengths: tuple[int, ...] = ()
    areas: tuple[float, ...] = ()


class Oscillation(Detector):
    """Finds that a loop's error cycles and does not die out; the reading is the error, relative to the setpoint.

    A half period ends when the error has crossed zero by more than `hysteresis` of its peak. The loop oscillates where
    of the last `halves` half periods each is as long as the last but one, within `tolerance`, and its area (the
    integral of the absolute error) is within `1 - tolerance` and twice that one's: so a disturbance that dies out is
    none, nor is noise, which crosses zero at random; nor is what is smaller than `least` on the average.

    Attributes:
        halves: half periods that must be alike.
        tolerance: relative difference up to which two are.
        hysteresis: share of the peak by which noise does not end a half period.
        least: mean size of the error below which nothing is an oscillation.

    Source: T. Hägglund, A control-loop performance monitor, 1995; K. Forsman and A. Stattin, A new criterion for
    detecting oscillations in control loops, 1999.
    """

    halves: int = Field(default=12, ge=4, le=100)
    tolerance: float = Field(default=0.35, gt=0, lt=1)
    hysteresis: float = Field(default=0.1, ge=0, lt=1)
    least: float = Field(default=0.02, ge=0)

    def init(self) -> OscillationState:
        """Return the state without an error."""
        return OscillationState()

    def judge(self, state: OscillationState, reading: float, elapsed: int) -> tuple[Finding, OscillationState]:
        """Judge the half periods up to this error."""
        del elapsed
        size, side = abs(reading), math.copysign(1.0, reading)
        if side == state.side or size <= self.hysteresis * state.peak:
            grown = (state.length + 1, state.area + (size if side == state.side else 0.0), max(state.peak, size))
            return Finding(False, 0.0), OscillationState(state.side, *grown, state.lengths, state.areas)
        # What came before the first crossing is no half period.
        whole = int(bool(state.lengths) or state.side != 0)
        lengths = (*state.lengths, *(state.length,) * whole)[-self.halves :]
        areas = (*state.areas, *(state.area,) * whole)[-self.halves :]
        after = OscillationState(side, 1, size, size, lengths, areas)
        size = sum(areas) / max(sum(lengths), 1)
        if len(lengths) < self.halves or size <= self.least or not self._alike(lengths, areas):
            return Finding(False, size), after
        period = 2 * sum(lengths) / len(lengths)
        return Finding(True, size, f"an error of {size:.3g} on the average cycles every {period:.3g} decisions"), after

    def screen(self, state: OscillationState) -> tuple[float, float]:
        """Return all: no single error is a fault, and it is told where a look is due."""
        del state
        return FINITE

    def rest(self, state: OscillationState) -> OscillationState:
        """Return the state without an error."""
        del state
        return OscillationState()

    def _alike(self, lengths: tuple[int, ...], areas: tuple[float, ...]) -> bool:
        long = zip(lengths, lengths[2:], strict=False)
        wide = zip(areas, areas[2:], strict=False)
        return all(abs(b - a) <= self.tolerance * a for a, b in long) and all(
            (1 - self.tolerance) * a <= b <= 2 * a for a, b in wide
        )
