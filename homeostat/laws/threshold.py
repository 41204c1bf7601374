"""A relay with two levels and hysteresis."""

from __future__ import annotations

from typing import NamedTuple, Self

from pydantic import model_validator

from homeostat.laws.law import Decision, Input, Law


class ThresholdState(NamedTuple):
    """The level chosen last; None until a threshold is crossed, and after something else moved the knob."""

    level: float | None = None


class Threshold(Law):
    """Switches the knob to `above` when the reading exceeds `high` and to `below` when it falls under `low`.

    Between the thresholds the last level stands, also while a slew limit is still on the way to it; before the
    first crossing, and after something else moved the knob, the knob stays where it is. `above` and `below` are
    positions in the actuator's coordinate (for a log-scaled knob, the logarithm of its value).
    """

    low: float
    high: float
    above: float
    below: float

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low >= self.high:
            msg = (
                f"A threshold's low must be under its high; got {self.low} and {self.high}. "
                "Leave a gap wider than the reading's noise, or the knob chatters."
            )
            raise ValueError(msg)
        return self

    def init(self) -> ThresholdState:
        """Return the state before the first crossing."""
        return ThresholdState()

    def update(self, state: ThresholdState, given: Input) -> Decision:
        """Answer with the level of the last crossing."""
        (reading,) = given.readings
        level = None if given.moved[0] else state.level
        if reading > self.high:
            level = self.above
        elif reading < self.low:
            level = self.below
        return Decision((given.admitted[0] if level is None else level,), ThresholdState(level), {})
