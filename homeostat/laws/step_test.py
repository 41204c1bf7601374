"""An experiment that moves a knob once and back, within a stated authority, to identify a plant."""

from __future__ import annotations

from typing import NamedTuple, Self

from pydantic import Field, model_validator

from homeostat.laws.law import Decision, Input, Law, bounded
from homeostat.laws.relay_test import within


class StepTestState(NamedTuple):
    """How far the test is.

    Attributes:
        phase: "" before the first decision, then "testing", "done" or "aborted".
        start: position of the knob before the test, or where somebody else put it since.
        ticks: since the first decision, while testing.
    """

    phase: str = ""
    start: float = 0.0
    ticks: int = 0


class StepTest(Law):
    """Rests for `hold` ticks, moves the knob by `amplitude` for as long, moves it back and rests as long again.

    Then it is done, and holds the knob. A reading outside [low, high] ends the test at once, with the knob back at
    its start; somebody else moving the knob ends it too, and the knob stays there.

    `homeostat.analysis.identify` finds the plant in the loop's records; `hold` should be some three time constants.
    Terms: `testing` is 1 during the test, `aborted` 1 after one that was broken off.

    Attributes:
        amplitude: in the knob's coordinate, signed; the authority of the test.
        hold: ticks of each of the three parts.
        low: least reading that is allowed, None for any.
        high: greatest reading that is allowed, None for any.
    """

    amplitude: float = Field(ge=-1e50, le=1e50)
    hold: int = Field(ge=1, le=10**7)
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.amplitude == 0:
            msg = "A StepTest's amplitude must differ from 0; got 0. Use Hold to leave a knob alone."
            raise ValueError(msg)
        if self.low is not None and self.high is not None and self.low >= self.high:
            msg = f"StepTest.low must be below StepTest.high; got {self.low:g} and {self.high:g}. Swap them."
            raise ValueError(msg)
        return self

    def init(self) -> StepTestState:
        """Return the state before the test."""
        return StepTestState()

    def update(self, state: StepTestState, given: Input) -> Decision:
        """Answer with the position that the test has the knob at now."""
        state = self._go_on(state, given) if state.phase else StepTestState("testing", bounded(given.admitted[0]))
        out = state.phase == "testing" and state.ticks // self.hold == 1
        position = bounded(state.start + self.amplitude) if out else state.start
        terms = {"testing": float(state.phase == "testing"), "aborted": float(state.phase == "aborted")}
        return Decision((position,), state, terms)

    def _go_on(self, state: StepTestState, given: Input) -> StepTestState:
        if given.moved[0]:
            state = state._replace(start=bounded(given.admitted[0]))
        if state.phase != "testing":
            return state
        if given.moved[0] or not within(bounded(given.readings[0]), self.low, self.high):
            return state._replace(phase="aborted")
        ticks = state.ticks + given.elapsed
        return state._replace(phase="done" if ticks >= 3 * self.hold else "testing", ticks=ticks)
