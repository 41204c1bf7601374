"""Cumulative sums: finds a small lasting change that no single reading shows."""

from __future__ import annotations

import math
from typing import NamedTuple

from pydantic import Field

from homeostat.laws.law import Decision, Input, Law, bounded


class CUSUMState(NamedTuple):
    """The sums above and below, in standard deviations, and the readings since each was last zero."""

    up: float = 0.0
    up_length: int = 0
    down: float = 0.0
    down_length: int = 0


def accumulate(total: float, length: int, score: float, allowance: float) -> tuple[float, int]:
    """Return max(0, total + score - allowance), and for how many scores it has been above zero."""
    total = bounded(total + score - allowance)
    return (total, length + 1) if total > 0 else (0.0, 0)


def one_sided_run_length(shift: float, allowance: float, threshold: float) -> float:
    """Return the mean number of normal scores, of mean `shift` and deviation 1, until their sum exceeds `threshold`.

    With D = shift - allowance and b = threshold + 1.166: (exp(-2 D b) + 2 D b - 1) / (2 D^2), and b^2 at D = 0.

    Source: D. Siegmund, Sequential Analysis, 1985, chapter 2.
    """
    b = threshold + 1.166
    x = 2.0 * (shift - allowance) * b
    if abs(x) < 1e-4:  # the formula is 0 / 0 at 0
        return b**2
    return 2.0 * b**2 * (math.expm1(min(-x, 700.0)) + x) / x**2


class CUSUM(Law):
    """Answers with the setpoint until the readings have left it for good, then once with an estimate of where they are.

    With z = (y - r) / noise:  up <- max(0, up + z - allowance), down <- max(0, down - z - allowance). When one of them
    exceeds `threshold`, the answer is r +- noise (allowance + sum / readings since it was zero), and both start anew.
    So an integrating law behind it leaves the knob alone while the run is in control, and corrects a detected change.

    The allowance is half the shift, in standard deviations, that should be found soonest. `average_run_length` tells
    how many readings pass between false alarms, and until a shift is found.

    Attributes:
        noise: standard deviation of a reading about its mean, in its units; for independent readings (a correlated
            noise raises more false alarms: decide more rarely, or filter before).
        allowance: k, in standard deviations.
        threshold: h, in standard deviations.

    Source: E. S. Page, Continuous Inspection Schemes, 1954; D. C. Montgomery, Introduction to Statistical Quality
    Control, 2013, section 9.1.
    """

    noise: float = Field(gt=1e-100, le=1e100)
    allowance: float = Field(default=0.5, ge=0, le=1e3)
    threshold: float = Field(default=5.0, gt=0, le=1e6)

    @property
    def needs_setpoint(self) -> bool:
        """In control means at it."""
        return True

    def average_run_length(self, shift: float = 0.0) -> float:
        """Return the mean number of readings until an alarm, at a mean `shift` standard deviations off the setpoint.

        1 / (1 / up + 1 / down), each side by `one_sided_run_length`. For independent normal readings it is right to
        some 6 per cent where it is 4 or more; below it is too short (by the defaults 1.7 for 2.0, at a shift of 4).
        """
        return 1.0 / sum(1.0 / one_sided_run_length(side, self.allowance, self.threshold) for side in (shift, -shift))

    def init(self) -> CUSUMState:
        """Return empty sums."""
        return CUSUMState()

    def update(self, state: CUSUMState, given: Input) -> Decision:
        """Answer with the setpoint, or with the changed mean."""
        setpoint = bounded(given.setpoints[0])
        score = bounded((bounded(given.readings[0]) - setpoint) / self.noise)
        up, up_length = accumulate(state.up, state.up_length, score, self.allowance)
        down, down_length = accumulate(state.down, state.down_length, -score, self.allowance)
        terms = {"up": up, "down": down}
        if max(up, down) <= self.threshold:
            return Decision((setpoint,), CUSUMState(up, up_length, down, down_length), terms)
        shift = self.allowance + up / up_length if up >= down else -self.allowance - down / down_length
        return Decision((bounded(setpoint + bounded(self.noise * shift)),), CUSUMState(), terms)
