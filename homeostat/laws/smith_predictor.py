"""Feedback from where a model says the reading will be once the dead time has passed."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

from pydantic import Field, SerializeAsAny, model_validator

from homeostat.laws.law import Decision, Input, Law, bounded


class SmithPredictorState(NamedTuple):
    """The inner law's state, and the model's level at each of the last dead_time + 1 ticks, oldest first."""

    inner: Any
    levels: tuple[float, ...] = ()


class SmithPredictor(Law):
    """Lets a law act as if the plant had no dead time.

    Its model of the plant is gain exp(-dead_time s) / (1 + time_constant s).

    The law sees y + m(t) - m(t - dead_time), with m the model's level without dead time under the admitted positions:
    what the knob has done but the reading cannot show yet is added. If the model is right, the loop behaves as the
    loop without dead time does, dead_time later, so the inner law may be tuned for that one; a lasting error of the
    model or a disturbance is still taken away by its integral action. It answers no disturbance sooner than the dead
    time. A high gain relies on the model and oscillates where the true dead time is another: keep the closed loop
    slower than their difference. For stable plants only.

    The model starts at rest where the knob is, so the first command is the inner law's own. Terms are the inner law's,
    and "ahead", what is added to the reading.

    Attributes:
        law: a scalar law.
        gain: of the model, reading per knob coordinate.
        time_constant: of the model, in ticks.
        dead_time: of the model, in ticks; the state holds as many numbers and one.

    Raises:
        pydantic.ValidationError: a law of several readings or commands.

    Source: O. J. M. Smith, Closer Control of Loops with Dead Time, 1957; K. J. Åström and T. Hägglund, Advanced PID
    Control, 2006, chapter 8.
    """

    law: SerializeAsAny[Law]
    gain: float = Field(ge=-1e100, le=1e100)
    time_constant: float = Field(gt=0, le=1e12)
    dead_time: int = Field(ge=1, le=10_000)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.law.shape != (1, 1):
            msg = (
                "A SmithPredictor's law must take one reading and give one command; got "
                f"{type(self.law).__name__} of shape {self.law.shape}. Use a scalar law."
            )
            raise ValueError(msg)
        return self

    @property
    def needs_setpoint(self) -> bool:
        """Whether the inner law does."""
        return self.law.needs_setpoint

    @property
    def positive_setpoints(self) -> tuple[bool, ...]:
        """The inner law's."""
        return self.law.positive_setpoints

    def init(self) -> SmithPredictorState:
        """Return the state before the first decision."""
        return SmithPredictorState(self.law.init())

    def update(self, state: SmithPredictorState, given: Input) -> Decision:
        """Decide from the reading to come."""
        levels = self._levels(state.levels, bounded(self.gain * bounded(given.admitted[0])), given.elapsed)
        ahead = levels[-1] - levels[0]
        reading = bounded(bounded(given.readings[0]) + ahead)
        inner = self.law.update(state.inner, given._replace(readings=(reading,)))
        return Decision(inner.command, SmithPredictorState(inner.state, levels), {**inner.terms, "ahead": ahead})

    def _levels(self, levels: tuple[float, ...], goal: float, elapsed: int) -> tuple[float, ...]:
        """Return the last dead_time + 1 levels after `elapsed` ticks towards `goal`, at which the model starts."""
        size = self.dead_time + 1
        if not levels:
            return (goal,) * size
        distance = levels[-1] - goal
        new = range(max(1, elapsed - self.dead_time), elapsed + 1)
        passed = tuple(goal + distance * math.exp(-ticks / self.time_constant) for ticks in new)
        return (*levels, *passed)[-size:]
