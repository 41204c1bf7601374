"""Ashby's homeostat: a field that is redrawn at random until the essential variables stay within their bounds."""

from __future__ import annotations

import random
from typing import NamedTuple, Self

from pydantic import Field, model_validator

from homeostat.laws.law import LARGEST, Decision, Input, Law, bounded
from homeostat.laws.matrix import Matrix


class UltrastableState(NamedTuple):
    """What the next decision needs.

    Attributes:
        field: the present gains, one row a knob.
        draws: fields drawn before this one.
        ticks: since it was drawn; None before the first decision.
    """

    field: Matrix
    draws: int
    ticks: int | None = None


class Ultrastable(Law):
    """Keeps n readings within their bounds by a linear field, and draws another field when one of them leaves.

    du/dt = F e,   e_j = (y_j - (low_j + high_j) / 2) / ((high_j - low_j) / 2), held within +-2,

    so that abs(e_j) <= 1 is within bounds. While any reading is out of bounds `trial` ticks after F was drawn, F is
    drawn anew: F_ij = rates_i * s * d, with s uniform in [-1, 1] for each entry and d log-uniform in
    [10^-decades, 1] for the whole field. The draws are a function of `seed` and their number alone. The law knows
    nothing of the plant, not even the direction in which a knob acts; it pays with the excursions of the fields that
    it discards, and with some of those that only look good for a while. Give its knobs limits.

    Whatever the readings, knob i moves by at most 2 n rates_i a tick. If a share p > 0 of the fields is such that the
    closed loop returns from anywhere between its limits within `trial` ticks and then stays in bounds, every trial
    ends in one with a chance of at least p: the number of draws is bounded by a geometric variable with mean 1 / p,
    so the changes end with probability one.

    The first commands are the admitted positions exactly. The knobs go on from wherever they are, so limits wind
    nothing up; ticks that were held do not count.

    Attributes:
        low: least good reading, one a reading.
        high: greatest good reading.
        rates: greatest speed of each knob per essential variable at its bound, in its coordinate a tick.
        trial: ticks that a field is given to bring the readings back; enough to cross the knobs' limits at `rates` and
            for the plant to settle.
        decades: how much slower than `rates` a field may be.
        seed: of the draws.

    Raises:
        pydantic.ValidationError: bounds of different number or the wrong way round, or a rate that is not positive.

    Source: W. R. Ashby, Design for a Brain, 1960, chapters 7 and 8 (the ultrastable system and the homeostat).
    """

    low: tuple[float, ...] = Field(min_length=1)
    high: tuple[float, ...]
    rates: tuple[float, ...] = Field(min_length=1)
    trial: int = Field(ge=1, le=10**12)
    decades: float = Field(default=1.0, ge=0, le=10)
    seed: int = Field(default=0, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _check(self) -> Self:
        bounds = list(zip(self.low, self.high, strict=False))
        if len(self.low) != len(self.high) or not all(-1e99 <= low < high <= 1e99 for low, high in bounds):
            msg = (
                f"Ultrastable's low must be below its high, reading by reading and within 1e99; got {self.low} and "
                f"{self.high}. Give each reading the range in which the run is well."
            )
            raise ValueError(msg)
        if not all(0 < rate <= LARGEST for rate in self.rates):
            msg = f"Ultrastable's rates must be positive and at most 1e100; got {self.rates}. Give one a knob."
            raise ValueError(msg)
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """A reading a bound, a knob a rate."""
        return len(self.low), len(self.rates)

    def init(self) -> UltrastableState:
        """Return the state with the first field."""
        return UltrastableState(self._draw(0), 0)

    def update(self, state: UltrastableState, given: Input) -> Decision:
        """Move along the field, or along the next one."""
        if state.ticks is None:
            return Decision(tuple(map(bounded, given.admitted)), state._replace(ticks=0), {})
        essential = tuple(
            min(2.0, max(-2.0, (bounded(y) - (low + high) / 2) / ((high - low) / 2)))
            for y, low, high in zip(given.readings, self.low, self.high, strict=True)
        )
        free = given.elapsed - given.held
        ticks = state.ticks + free
        out = max(map(abs, essential)) > 1
        if out and ticks >= self.trial:
            state, ticks = UltrastableState(self._draw(state.draws + 1), state.draws + 1, 0), 0
        command = tuple(
            bounded(bounded(u) + bounded(sum(f * e for f, e in zip(row, essential, strict=True)) * free))
            for u, row in zip(given.admitted, state.field, strict=True)
        )
        terms = {"draws": float(state.draws), "worst": max(map(abs, essential))}
        return Decision(command, UltrastableState(state.field, state.draws, ticks), terms)

    def _draw(self, number: int) -> Matrix:
        """Return field `number`; Python promises the same `random` floats for one seed in every version."""
        chance = random.Random(self.seed * 2**32 + number)
        size = 10.0 ** (-self.decades * chance.random())
        return tuple(tuple(rate * size * (2.0 * chance.random() - 1.0) for _ in self.low) for rate in self.rates)
