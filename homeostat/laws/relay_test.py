"""An experiment that makes a plant oscillate a little, within a stated authority, to identify it."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

from pydantic import Field, model_validator

from homeostat.laws.law import Decision, Input, Law, bounded


class RelayTestState(NamedTuple):
    """How far the test is.

    Attributes:
        phase: "resting", "testing", "done" or "aborted".
        start: position of the knob before the test, or where somebody else put it since.
        ticks: since the first decision.
        rested: readings seen at rest.
        mean: of those.
        squares: sum of squared differences of successive ones.
        last: the newest of those.
        sign: of the plant's gain; 0 until the reading has answered.
        up: whether the relay is at its upper level.
        switches: of the relay so far.
    """

    phase: str = "resting"
    start: float = 0.0
    ticks: int = 0
    rested: int = 0
    mean: float = 0.0
    squares: float = 0.0
    last: float = 0.0
    sign: int = 0
    up: bool = True
    switches: int = 0


class RelayTest(Law):
    """Switches the knob between two levels about where it stands, so that the reading oscillates about where it was.

    It rests for `warm_up` decisions, which give the reading's mean and noise. Then it raises the knob by `amplitude`
    until the reading has left the mean by more than twice the hysteresis, which tells the sign of the plant's gain.
    From there on the relay drives the reading back each time it has left the mean by more than the hysteresis. After
    `periods` oscillations, or `longest` ticks, it puts the knob back where it found it, and holds it. The lower level
    is only `asymmetry` as deep as the upper one is high: that shows the static gain, to which a symmetric relay is
    blind.

    The knob never leaves [start - asymmetry amplitude, start + amplitude]. A reading outside [low, high] ends the
    test, with the knob back at its start; somebody else moving the knob ends it too, and the knob stays there.

    `homeostat.analysis.identify` finds the plant in the loop's records. Terms: `testing` is 1 during the test,
    `aborted` 1 after one that was broken off.

    Attributes:
        amplitude: in the knob's coordinate; the authority of the test.
        asymmetry: depth over height.
        hysteresis: in units of the reading; None for three standard deviations of the noise at rest.
        warm_up: decisions at rest.
        periods: whole oscillations.
        longest: ticks, warm-up included, after which the test ends in any case.
        low: least reading that is allowed, None for any.
        high: greatest reading that is allowed, None for any.

    Source: K. J. Åström and T. Hägglund, Automatic tuning of simple regulators, Automatica 20 (1984); J. Berner, T.
    Hägglund and K. J. Åström, Asymmetric relay autotuning, Control Engineering Practice 54 (2016).
    """

    amplitude: float = Field(gt=0, le=1e50)
    asymmetry: float = Field(default=0.5, gt=0, le=1)
    hysteresis: float | None = Field(default=None, ge=0, le=1e100)
    warm_up: int = Field(default=10, ge=2, le=10_000)
    periods: int = Field(default=3, ge=1, le=100)
    longest: int = Field(default=2000, ge=1, le=10**7)
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low is not None and self.high is not None and self.low >= self.high:
            msg = f"RelayTest.low must be below RelayTest.high; got {self.low:g} and {self.high:g}. Swap them."
            raise ValueError(msg)
        return self

    def init(self) -> RelayTestState:
        """Return the state before the test."""
        return RelayTestState()

    def update(self, state: RelayTestState, given: Input) -> Decision:
        """Take one reading; answer with the level of the relay, or with the position to hold."""
        reading, admitted = bounded(given.readings[0]), bounded(given.admitted[0])
        if state.phase in {"done", "aborted"}:
            # Under a slew limit the knob may still be on its way back.
            return self._answer(state._replace(start=admitted) if given.moved[0] else state)
        if state.rested == 0:
            state = state._replace(start=admitted)
        elif given.moved[0]:
            return self._answer(state._replace(phase="aborted", start=admitted))
        else:
            state = state._replace(ticks=state.ticks + given.elapsed)
        if not within(reading, self.low, self.high):
            return self._answer(state._replace(phase="aborted"))
        state = self._rest(state, reading) if state.phase == "resting" else self._switch(state, reading)
        return self._answer(state)

    def _answer(self, state: RelayTestState) -> Decision:
        position = state.start
        if state.phase == "testing":
            position = bounded(position + (self.amplitude if state.up else -self.asymmetry * self.amplitude))
        terms = {"testing": float(state.phase == "testing"), "aborted": float(state.phase == "aborted")}
        return Decision((position,), state, terms)

    def _rest(self, state: RelayTestState, reading: float) -> RelayTestState:
        """Take one more reading at rest into mean and noise."""
        count = state.rested + 1
        mean = state.mean + (reading - state.mean) / count
        step = bounded(reading - state.last) if state.rested else 0.0
        phase = "testing" if count >= self.warm_up else "resting"
        return state._replace(phase=phase, rested=count, mean=mean, squares=state.squares + step * step, last=reading)

    def _switch(self, state: RelayTestState, reading: float) -> RelayTestState:
        """Move the relay where the reading asks for it; end the test where it is long enough."""
        width = self.hysteresis
        if width is None:
            # Successive differences see no drift; their variance is twice the noise's.
            width = 3 * math.sqrt(state.squares / (2 * (state.rested - 1)))
        away, sign, up = bounded(reading - state.mean), state.sign, state.up
        # A sign guessed from noise would drive the reading away from its mean until the end.
        if sign == 0 and abs(away) > 2 * width:
            sign = 1 if away > 0 else -1
        if sign and abs(away) > width:
            up = sign * away < 0
        switches = state.switches + (up != state.up)
        over = switches > 2 * self.periods or state.ticks >= self.longest
        return state._replace(phase="done" if over else "testing", sign=sign, up=up, switches=switches)


def within(reading: float, low: float | None, high: float | None) -> bool:
    """Whether a reading lies inside the bounds, of which None is none."""
    return (low is None or reading >= low) and (high is None or reading <= high)
