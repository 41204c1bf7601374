"""Models of what a reading does by itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Noise(NamedTuple):
    """Noise with a memory: n_k = memory n_{k-1} + e_k - fleeting e_{k-1}, e white (ARMA(1, 1)).

    White noise remembers nothing, a random walk everything; a disturbance measured with white noise is between.

    Attributes:
        memory: what is left of a value one usual distance of readings later, from 0 to 1.
        fleeting: share of an innovation that is gone at once, from 0 to 1.
    """

    memory: float = 0.0
    fleeting: float = 0.0

    def whiten(self, levels: Array, gaps: Array) -> Array:
        """Return the innovations of columns of levels, but the first; one after a gap is larger, and counts less.

        Args:
            levels: (readings,) or (readings, columns).
            gaps: distances of neighbouring readings, in units of the usual one.
        """
        from scipy.signal import lfilter  # noqa: PLC0415

        kept = self.memory**gaps
        # Variance of an innovation after a gap over that after the usual distance, and its limit for a walk.
        spread = gaps if self.memory == 1 else (1 - kept**2) / (1 - self.memory**2)
        steps = ((levels[1:].T - kept * levels[:-1].T) / np.sqrt(spread)).T
        return np.asarray(lfilter([1.0], [1.0, -self.fleeting], steps, axis=0), dtype=np.float64)


WHITE, WALK = Noise(), Noise(memory=1.0)
# Memories of up to 10 readings, as longer ones are hardly told from a walk; without and with white noise beside them.
NOISES = (
    WHITE,
    *(Noise(memory) for memory in (0.25, 0.5, 0.7)),
    *(Noise(memory, fleeting) for memory in (0.8, 0.9) for fleeting in (0.0, 0.3, 0.6)),
    *(Noise(1.0, fleeting) for fleeting in (0.0, 0.3, 0.5, 0.7, 0.8, 0.9)),
)
