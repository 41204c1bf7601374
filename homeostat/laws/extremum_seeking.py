"""Seeks the knobs' positions at which a reading is least, by probing."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

from pydantic import Field, model_validator

from homeostat.laws.law import LARGEST, Decision, Input, Law, bounded


class ExtremumSeekingState(NamedTuple):
    """What the next decision needs.

    Attributes:
        ticks: since the start.
        mean: of the readings, over the common period.
        power: mean square of the reading's deviation from it.
        correlation: mean product of the deviation and each knob's probe.
        command: the last commands; None before the first.
    """

    ticks: int
    mean: float
    power: float
    correlation: tuple[float, ...]
    command: tuple[float, ...] | None = None


class ExtremumSeeking(Law):
    """Walks m knobs together to where one reading is least (or greatest), knowing neither its slope nor its unit.

    u_i = c_i + a_i(t) s_i(t),   s_i(t) = sin(2 pi k_i t / P),   P the common period;
    dc_i/dt = -speed a_i(t) g_i / P,   g_i = sqrt(2) <(y - <y>) s_i(t - delay)> / sqrt(<(y - <y>)^2>),

    with < > an exponential mean over P. Each knob is probed by a sine of its own; the k_i are consecutive odd numbers,
    so that no frequency is twice another or the sum of two, and a knob's probe tells of that knob alone. The slope g_i
    is a correlation, between -1 and 1: 1 where the reading does nothing but follow the probe, less in noise. So the
    law needs no gain: far away it moves speed * a_i a common period whatever the reading's unit, and near the optimum
    of a smooth static reading the distance shrinks at the rate 4 speed / P whatever its curvature (for one knob; m
    knobs to which the reading is alike share the correlation, and each has this rate over sqrt(m)).

    For any readings at all the centre moves by at most speed * a_i a common period (bounded update rate); for a
    reading that is convex in the knobs, and probes slower than the plant and faster than the walk, the averaged motion
    is a descent: d<y>/dt = -speed / P * sum of a_i |dy/du_i| |g_i| <= 0.

    The amplitude falls from `amplitudes` to `final` of it with the time constant `decay`, which sets both how far the
    knobs swing and how fast they walk. A knob that a limit or something else moved is taken from where it is, so that
    at a limit its probe finds room inside. A pause counts as one common period at most, a
    hold not at all.

    Attributes:
        amplitudes: of the probes in the knobs' coordinates, one a knob, the first frequency the slowest.
        period: of the fastest probe, in ticks; long against the plant's time constants, and four decisions or more.
        speed: amplitudes a common period that a knob walks at most.
        delay: ticks by which the reading answers late.
        decay: time constant of the amplitudes, in ticks; None to keep them.
        final: share of the amplitudes that stays, to follow an optimum that drifts.
        maximize: seek the greatest reading.

    Source: K. B. Ariyur and M. Krstic, Real-Time Optimization by Extremum-Seeking Control, 2003, chapters 1 and 2; M.
    Krstic and H.-H. Wang, Automatica 36, 2000 (stability); Y. Tan et al., Automatica 45, 2009 (decaying amplitude);
    A. Scheinker and M. Krstic, Systems and Control Letters 63, 2014 (bounded update rates).
    """

    amplitudes: tuple[float, ...] = Field(min_length=1, max_length=100)
    period: float = Field(gt=2, le=1e12)
    speed: float = Field(default=0.25, gt=0, le=1)
    delay: int = Field(default=0, ge=0, le=10**6)
    decay: float | None = Field(default=None, gt=0, le=1e12)
    final: float = Field(default=0.1, gt=0, le=1)
    maximize: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not all(0 < amplitude <= LARGEST for amplitude in self.amplitudes):
            msg = (
                f"ExtremumSeeking's amplitudes must be positive and at most 1e100; got {self.amplitudes}. "
                "Give each knob the swing that you can afford; it learns nothing without one."
            )
            raise ValueError(msg)
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """One reading, a knob an amplitude."""
        return 1, len(self.amplitudes)

    @property
    def common_period(self) -> float:
        """Ticks in which every probe completes whole cycles: P."""
        return self.period * self._cycles()[-1]

    def init(self) -> ExtremumSeekingState:
        """Return the state before the first reading."""
        return ExtremumSeekingState(0, 0.0, 0.0, (0.0,) * len(self.amplitudes))

    def update(self, state: ExtremumSeekingState, given: Input) -> Decision:
        """Learn from the last probe and set the next."""
        reading, admitted = bounded(given.readings[0]), tuple(map(bounded, given.admitted))
        if state.command is None:
            return Decision(admitted, state._replace(mean=reading, command=admitted), {})
        free = given.elapsed - given.held
        share = -math.expm1(-free / self.common_period)
        deviation = reading - state.mean
        power = state.power + share * (deviation * deviation - state.power)
        heard = self._probes(state.ticks - self.delay)
        correlation = tuple(c + share * (deviation * s - c) for c, s in zip(state.correlation, heard, strict=True))
        slopes = tuple(_normalised(c, power) for c in correlation)
        before, ticks = self._swings(state.ticks), state.ticks + given.elapsed
        stride = (1 if self.maximize else -1) * self.speed * min(1.0, free / self.common_period)
        # The centre that the knob's position, wherever it came from, stands for; then one step of the walk.
        centres = tuple(
            bounded(position - swing + stride * amplitude * slope)
            for position, swing, amplitude, slope in zip(
                admitted, before, self._sizes(state.ticks), slopes, strict=True
            )
        )
        command = tuple(bounded(c + swing) for c, swing in zip(centres, self._swings(ticks), strict=True))
        terms = {f"slope{i}": slope for i, slope in enumerate(slopes)}
        terms |= {f"centre{i}": centre for i, centre in enumerate(centres)}
        mean = state.mean + share * deviation
        return Decision(command, ExtremumSeekingState(ticks, mean, power, correlation, command), terms)

    def _cycles(self) -> range:
        """Cycles of each probe in a common period: odd numbers, of which no two are twofold or add up to a third."""
        knobs = len(self.amplitudes)
        first = knobs + 1 - knobs % 2
        return range(first, first + 2 * knobs, 2)

    def _probes(self, ticks: int) -> tuple[float, ...]:
        return tuple(math.sin(2 * math.pi * k * ticks / self.common_period) for k in self._cycles())

    def _sizes(self, ticks: int) -> tuple[float, ...]:
        """Return the amplitudes at `ticks`."""
        left = 1.0 if self.decay is None else self.final + (1.0 - self.final) * math.exp(-ticks / self.decay)
        return tuple(left * amplitude for amplitude in self.amplitudes)

    def _swings(self, ticks: int) -> tuple[float, ...]:
        return tuple(a * s for a, s in zip(self._sizes(ticks), self._probes(ticks), strict=True))


def _normalised(correlation: float, power: float) -> float:
    if power <= 0:
        return 0.0
    return min(1.0, max(-1.0, math.sqrt(2.0) * (correlation / math.sqrt(power))))
