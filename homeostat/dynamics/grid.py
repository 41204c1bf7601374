"""A recording on even steps, and how a model answers its knob."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from homeostat.dynamics.model import PlantModel
from homeostat.dynamics.recording import Recording

Array = NDArray[np.float64]


class Grid:
    """A recording on even steps, in units in which numbers of any size can be squared.

    Args:
        recording: with at least two finite readings.

    Attributes:
        step: ticks a step.
        times: of the readings, in ticks from the first decision.
        reading: from its mean, in units of `reading_unit`.
        gaps: distances of neighbouring readings, in units of the usual one.
        moved: whether the knob did.
    """

    def __init__(self, recording: Recording) -> None:
        self.step = recording.step
        knob, self._places = recording.on_grid()
        self.times = (self._places * self.step).astype(np.float64)
        self.gaps = np.diff(self.times) / np.median(np.diff(self.times))
        seen = recording.reading[np.isfinite(recording.reading)]
        self.reading_zero = float(np.sum(seen / len(seen)))
        self.reading_unit = float(np.max(np.abs(seen - self.reading_zero))) or 1.0
        self.reading = (seen - self.reading_zero) / self.reading_unit
        self.knob_zero = float(knob[0])
        self.knob_unit = float(np.max(np.abs(knob - self.knob_zero))) or 1.0
        self._knob = (knob - self.knob_zero) / self.knob_unit
        self.moved = bool(np.any(self._knob[: self._places[-1]]))

    def answered(self) -> float:
        """Return the share of the knob's moves that a line through the last three readings explains (adjusted R^2).

        A PID's moves are on such a line while its setpoint rests.
        """
        moves = np.diff(self._knob[self._places])[1:]
        past = np.column_stack((self.reading[2:], self.reading[1:-1], self.reading[:-2], np.ones_like(moves)))
        left = moves - past @ np.linalg.lstsq(past, moves, rcond=None)[0]
        power = float(np.var(moves, ddof=1))
        return 1 - float(left @ left) / (len(moves) - 4) / power if power > 0 else 0.0

    def response(self, model: PlantModel) -> Array:
        """Return the reading of a model at rest at the first knob position, where there are readings."""
        from scipy.signal import lfilter  # noqa: PLC0415

        pulse = model.pulse(self.step)
        return np.asarray(lfilter(pulse.numerator, pulse.denominator, self._knob)[self._places], dtype=np.float64)
