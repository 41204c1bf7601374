"""Filters: laws whose command is a smoother, bounded or rescaled reading, to be put in a `Chain`."""

from __future__ import annotations

import math
from statistics import median
from typing import NamedTuple

from pydantic import Field

from homeostat.laws.law import Decision, Input, Law, bounded


class EMAState(NamedTuple):
    """The mean so far, and the weight that readings (not the start) have in it."""

    mean: float = 0.0
    weight: float = 0.0


class EMA(Law):
    """Answers with the exponential moving average of the readings.

    With a = exp(-elapsed / time_constant): w <- a w + 1 - a; mean <- mean + (1 - a) / w * (reading - mean). The
    division by w, the weight gathered so far, removes the bias of the start: the first answer is the first
    reading, and the first few are nearly their plain mean. The weights are exact for irregular `elapsed`.

    `time_constant` is in ticks.
    """

    time_constant: float = Field(gt=0, le=1e12)

    def init(self) -> EMAState:
        """Return the state without a reading."""
        return EMAState()

    def update(self, state: EMAState, given: Input) -> Decision:
        """Answer with the mean, this reading included."""
        share = -math.expm1(-given.elapsed / self.time_constant)
        weight = state.weight + share * (1.0 - state.weight)
        mean = state.mean + share / weight * (bounded(given.readings[0]) - state.mean)
        return Decision((mean,), EMAState(mean, weight), {})


class MedianState(NamedTuple):
    """The last readings, oldest first."""

    history: tuple[float, ...] = ()


class Median(Law):
    """Answers with the median of the last `window` readings, which fewer than half of them cannot drag away.

    It delays by about window / 2 decisions. An even window answers with the mean of the two middle readings.
    """

    window: int = Field(ge=1, le=1001)

    def init(self) -> MedianState:
        """Return the empty history."""
        return MedianState()

    def update(self, state: MedianState, given: Input) -> Decision:
        """Answer with the median, this reading included."""
        history = (*state.history, bounded(given.readings[0]))[-self.window :]
        return Decision((median(history),), MedianState(history), {})


class SlewLimit(Law):
    """Moves the knob towards the reading by at most `rate` a tick.

    command = admitted + clip(reading - admitted, -rate * elapsed, rate * elapsed). It has no memory: it continues
    from wherever the knob is. The time of a hold does not count. `rate` is in the actuator's coordinate (on a log
    scale, log 2 is a doubling a tick).
    """

    rate: float = Field(gt=0, le=1e100)

    def init(self) -> tuple[()]:
        """Return the empty state."""
        return ()

    def update(self, state: tuple[()], given: Input) -> Decision:
        """Answer with a position within reach of the admitted one."""
        wanted, here = bounded(given.readings[0]), bounded(given.admitted[0])
        reach = self.rate * (given.elapsed - given.held)
        # Where it is within reach the reading itself is the answer, free of rounding.
        command = wanted if abs(wanted - here) <= reach else here + math.copysign(reach, wanted - here)
        return Decision((command,), state, {})


class Affine(Law):
    """Answers with gain * reading + offset: a static feed-forward, or a change of units.

    In log coordinates the gain is an exponent and the offset a factor: gain 1 and offset log 2 set a limit to
    twice the reading (given the reading's logarithm).
    """

    gain: float = Field(default=1.0, ge=-1e100, le=1e100)
    offset: float = Field(default=0.0, ge=-1e100, le=1e100)

    def init(self) -> tuple[()]:
        """Return the empty state."""
        return ()

    def update(self, state: tuple[()], given: Input) -> Decision:
        """Answer with the mapped reading."""
        return Decision((bounded(self.gain * bounded(given.readings[0]) + self.offset),), state, {})
