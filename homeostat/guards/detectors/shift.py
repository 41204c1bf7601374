"""A lasting rise of the level that no single reading shows."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from homeostat.guards.detector import FINITE, LARGEST_SINGLE, Finding
from homeostat.guards.detectors.windowed import Normal, Windowed
from homeostat.laws.cusum import accumulate, one_sided_run_length


class ShiftState(NamedTuple):
    """What is known of normal readings; the sum in robust standard deviations, and the readings since it was zero."""

    normal: Normal = Normal()
    total: float = 0.0
    length: int = 0


class Shift(Windowed):
    """Finds that readings have left their level upwards for good, by a cumulative sum.

    With x the reading or its logarithm, m and s the median and the robust standard deviation of the last `window`
    normal ones: z = min((x - m) / s, clip),  S <- max(0, S + z - allowance), and the level has shifted where
    S > threshold. The allowance is half the shift, in s, that should be found soonest. A shift that takes longer to
    be found than half a window becomes the normal level. The spread counts with at least `resolution` of the level,
    so that one that hardly varies does not make every change a great one.

    Attributes:
        allowance: k, in robust standard deviations.
        threshold: h, in robust standard deviations.
        clip: most that one reading counts; so that threshold / (clip - allowance) readings at least are needed.
        resolution: least spread, relative to the level.

    Source: E. S. Page, Continuous Inspection Schemes, 1954; the law `homeostat.laws.CUSUM` has the same sum.
    """

    least: float = Field(default=0.3, ge=0, le=1e6)
    allowance: float = Field(default=1.0, ge=0, le=1e3)
    threshold: float = Field(default=30.0, gt=0, le=1e6)
    clip: float = Field(default=4.0, gt=0, le=1e6)
    resolution: float = Field(default=0.1, gt=0, le=1e3)

    def average_run_length(self, shift: float = 0.0) -> float:
        """Return the mean number of readings until the finding, `shift` standard deviations above the normal level.

        For independent normal readings about a known level. In a training neither holds: benchmarks/detectors measures.
        """
        return one_sided_run_length(shift, self.allowance, self.threshold)

    def init(self) -> ShiftState:
        """Return the state that knows nothing."""
        return ShiftState()

    def judge(self, state: ShiftState, reading: float, elapsed: int) -> tuple[Finding, ShiftState]:
        """Judge one reading; a normal one is remembered."""
        del elapsed
        normal, total, length = state
        if self.knows(normal):
            score = (self.place(normal, reading) - normal.center) / self._spread(normal)
            total, length = accumulate(total, length, min(score, self.clip), self.allowance)
        if total > self.threshold:
            text = (
                f"{length} readings, the last {reading:.4g}, are above {self.reading(normal.center):.4g} on the whole"
            )
            return Finding(True, total, text), ShiftState(normal, total, length)
        return Finding(False, total), ShiftState(self.remember(normal, reading), total, length)

    def screen(self, state: ShiftState) -> tuple[float, float]:
        """Return all that would not carry the sum above its threshold."""
        normal, missing = state.normal, self.threshold - state.total + self.allowance
        if not self.knows(normal) or missing >= self.clip:
            return FINITE
        # Short of it by more than rounding can make of a logarithm and back.
        place = normal.center + (missing - 1e-6) * self._spread(normal)
        if normal.floor is None or place < normal.floor:
            return super().screen(state)
        return FINITE[0], min(self.reading(place), LARGEST_SINGLE)

    def rest(self, state: ShiftState) -> ShiftState:
        """Return the state with an empty sum."""
        return ShiftState(state.normal)

    def _spread(self, normal: Normal) -> float:
        level = 1.0 if self.log else max(abs(normal.center), 1e-100)
        return max(normal.spread, self.resolution * level)
