"""Integral action on ratios: the rule of adaptive KL penalties, made safe."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

from pydantic import Field, model_validator

from homeostat.laws.law import Decision, Input, Law, bounded

# The slope of the logarithm is smoothed over lead / SMOOTHING ticks.
SMOOTHING = 8.0


class LogIntegratorState(NamedTuple):
    """What the next decision needs.

    Attributes:
        command: the last command; None before the first reading with a logarithm.
        reading: the last reading's logarithm.
        slope: its smoothed change a tick.
        gap: ticks for which no reading since then had a logarithm.
    """

    command: float | None = None
    reading: float = 0.0
    slope: float = 0.0
    gap: int = 0


class LogIntegrator(Law):
    """Brings the ratio of reading y to setpoint r to one by multiplying a log-scaled knob a little at each decision.

    For a reading that goes as knob**exponent (a KL divergence as the penalty's weight to the power -1, an entropy as
    its temperature): with the error of where the reading is heading,

        s = lead * d(ln y)/dt,   e = ln r - ln y - sign(s) ln(1 + abs(s)),
        u <- u + (1 - exp(-elapsed / integral_time)) clip(e, -limit, limit) / exponent.

    As only ratios count, a plant whose gain is ten times another's only has its knob elsewhere; the loop is the same.
    The forecast is exact while a reading grows from near zero towards a level (y + lead dy/dt, for a first-order
    plant of time constant `lead`): there the knob moves before the level is reached, where the published rule, a
    clipped error times a small constant, sees an error of the wrong sign. The factor before the clip is never above 1,
    so a decision after a long pause corrects an error at most once; the time of a hold does not count.

    Under a dead time of D ticks choose an integral_time of at least 2 D, times lead / time constant where that is
    above 1. (On a plant that follows at once after D ticks, with the right exponent and no lead, the loop is stable
    up to D = integral_time * pi / 2.)

    The position is kept in full precision; what limits and slew took flows back into it at the rate 1 /
    integral_time, so that at a limit it stands at most about `limit` / abs(exponent) beyond. A knob that something
    else moved is taken from where it is. The first command is the admitted position. A reading or a setpoint of zero
    or below has no logarithm: the knob is held.

    Attributes:
        exponent: of the knob in the reading; its sign is the direction.
        integral_time: ticks in which an error falls to 1 / e where the plant follows at once.
        lead: ticks to look ahead: about the plant's time constant; 0 for none.
        limit: greatest log error acted upon.
        dead_band: error (a logarithm) under which the knob stays.

    Source: the rule it replaces is that of D. M. Ziegler et al., Fine-Tuning Language Models from Human Preferences,
    2019, section 2.
    """

    exponent: float = Field(ge=-1e3, le=1e3)
    integral_time: float = Field(default=8.0, gt=0, le=1e12)
    lead: float = Field(default=25.0, ge=0, le=1e12)
    limit: float = Field(default=math.log(10), gt=0, le=1e3)
    dead_band: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if abs(self.exponent) < 1e-3:
            msg = (
                f"A LogIntegrator's exponent must be at least 0.001 in size; got {self.exponent:g}. Give the power of "
                "the knob in the reading, -1 where doubling the one halves the other."
            )
            raise ValueError(msg)
        return self

    @property
    def needs_setpoint(self) -> bool:
        """A controller always does."""
        return True

    @property
    def positive_setpoints(self) -> tuple[bool, ...]:
        """The one, as only its ratio to the reading counts."""
        return (True,)

    def init(self) -> LogIntegratorState:
        """Return the state before the first reading."""
        return LogIntegratorState()

    def update(self, state: LogIntegratorState, given: Input) -> Decision:
        """Decide once."""
        reading, setpoint = bounded(given.readings[0]), bounded(given.setpoints[0])
        admitted = bounded(given.admitted[0])
        if reading <= 0 or setpoint <= 0:
            command = None if state.command is None else admitted
            return Decision((admitted,), state._replace(command=command, gap=state.gap + given.elapsed), {})
        log = math.log(reading)
        if state.command is None:
            return Decision((admitted,), LogIntegratorState(admitted, log), {})
        slope = self._slope(state, log, given.elapsed + state.gap)
        ahead = self.lead * slope
        error = math.log(setpoint) - log - math.copysign(math.log1p(abs(ahead)), ahead)
        terms = {"error": error, "slope": slope}
        if abs(error) < self.dead_band:
            return Decision((admitted,), LogIntegratorState(admitted, log, slope), terms)
        share = -math.expm1(-(given.elapsed - given.held) / self.integral_time)
        # Where something else moved the knob, from there: the sum of command and departure would lose its last bits.
        start = admitted if given.moved[0] else state.command + share * (admitted - state.command)
        command = bounded(start + share * min(max(error, -self.limit), self.limit) / self.exponent)
        return Decision((command,), LogIntegratorState(command, log, slope), terms)

    def _slope(self, state: LogIntegratorState, log: float, elapsed: int) -> float:
        """Return the smoothed slope after a straight line from the last logarithm to this one."""
        if self.lead == 0:
            return 0.0
        kept = math.exp(-elapsed * SMOOTHING / self.lead)
        return kept * state.slope + (1.0 - kept) * (log - state.reading) / elapsed
