"""Proportional, integral and derivative action on one error."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

from pydantic import Field, model_validator

from homeostat.laws.law import Decision, Input, Law, bounded


class PIDState(NamedTuple):
    """What the next decision needs.

    Attributes:
        integral: the integral term, unquantised; without an integral time, the position that the knob had at the start.
        derivative: the derivative term.
        proportional: the proportional term.
        reading: the last reading (its logarithm with `log_error`).
        setpoint: the last setpoint (its logarithm with `log_error`).
        command: the last command; None before the first.
        gap: ticks for which no reading since the last had a logarithm.
    """

    integral: float = 0.0
    derivative: float = 0.0
    proportional: float = 0.0
    reading: float = 0.0
    setpoint: float = 0.0
    command: float | None = None
    gap: int = 0


class PID(Law):
    """Steers the reading y to the setpoint r: moves the knob in proportion to the error, its integral and -dy/dt.

    u = K (b r - y) + I + D,   dI/dt = K (r - y) / Ti,   D = -K Td s / (1 + s Td / N) y.

    A positive gain raises the knob while the reading is too low. Between two decisions reading and setpoint count
    as straight lines, for which I and D are exact at any `elapsed`, regular or not (the first-order-hold
    equivalent of the continuous law); the time of a hold is left out of I. The derivative acts on the reading alone,
    so a change of setpoint gives no spike; b < 1 also softens its proportional kick, and b = 0 leaves it to the
    integral.

    Limits. The position is kept in full precision whatever the knob does with it, and what limits and slew took
    away flows back into the integral: I <- I + (1 - exp(-elapsed / Tt)) (admitted - last command). With the default
    Tt = Ti, a command held at a limit by a constant error e leaves it as soon as the error changes sign (and exceeds
    e (elapsed / Ti)^2 / 12). A shorter Tt also unwinds what noise alone has clipped, which keeps a noisy loop off a
    limit that it should be at.

    No bump. The first command is the admitted position exactly (with an integral time), since no time has passed
    to integrate over. A knob that something else moved (`moved`) is taken from where it is: the whole difference
    goes into the integral at once, and the next command departs from it only by the change of P and D and the
    increment of I. A law that is re-tuned (a PID with other gains, times or dead band goes on from this one's state)
    departs from the last command likewise: what the new fields make of the last P is made up for in I.

    Without an integral time the law is proportional about the position found at the start: the first command is that
    position plus K times the error (with b = 1); it has no windup, and nothing is fed back but a knob moved elsewhere.

    Dead band. While abs(r - y) < dead_band the command is the admitted position and the integral rests; outside,
    only what exceeds the band counts as error. A reading that jumps into the band leaves the knob where the last
    P + I had it, and the next one outside is answered by its own P + I.

    With `log_error` readings and setpoint are replaced by their logarithms, for positive quantities that span
    decades: the error is log(r / y), the gain is per factor e. A reading or a setpoint of zero or below has no
    logarithm; then the knob is held as in the dead band (an update of zero, as at the start of a warm-up, says
    nothing about the size of the next).

    Attributes:
        gain: K, in knob coordinate per unit of error; its sign is the direction.
        integral_time: Ti in ticks; None for no integral action.
        derivative_time: Td in ticks.
        setpoint_weight: b.
        derivative_filter: N; the derivative is smoothed over Td / N ticks.
        tracking_time: Tt in ticks; None for Ti.
        dead_band: in units of the error.
        log_error: compare logarithms.

    Source: K. J. Åström and T. Hägglund, Advanced PID Control, 2006, chapters 3 and 13.
    """

    gain: float = Field(ge=-1e100, le=1e100)
    integral_time: float | None = Field(default=None, gt=0, le=1e12)
    derivative_time: float = Field(default=0.0, ge=0, le=1e12)
    setpoint_weight: float = Field(default=1.0, ge=0, le=1)
    derivative_filter: float = Field(default=8.0, ge=1, le=1000)
    tracking_time: float | None = Field(default=None, gt=0, le=1e12)
    dead_band: float = Field(default=0.0, ge=0)
    log_error: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.gain == 0:
            msg = "A PID's gain must differ from 0; got 0. Use Hold to leave a knob alone."
            raise ValueError(msg)
        if self.tracking_time is not None and self.integral_time is None:
            msg = (
                f"A PID's tracking_time must come with an integral_time; got {self.tracking_time} without one. "
                "Give an integral_time, or leave tracking_time out."
            )
            raise ValueError(msg)
        return self

    @property
    def needs_setpoint(self) -> bool:
        """A controller always does."""
        return True

    @property
    def positive_setpoints(self) -> tuple[bool, ...]:
        """The one, with an error of logarithms."""
        return (self.log_error,)

    def init(self) -> PIDState:
        """Return the state before the first decision."""
        return PIDState()

    def update(self, state: PIDState, given: Input) -> Decision:
        """Decide once, from one reading and one setpoint."""
        reading, setpoint = bounded(given.readings[0]), bounded(given.setpoints[0])
        admitted = bounded(given.admitted[0])
        if self.log_error:
            if reading <= 0 or setpoint <= 0:
                return self._rest(state, admitted, given)
            reading, setpoint = math.log(reading), math.log(setpoint)
        resting = abs(setpoint - reading) < self.dead_band
        error, proportional = self._weigh(reading, setpoint)
        if state.command is None:
            return self._start(admitted, proportional, reading, setpoint, resting)
        error_before, proportional_before = self._weigh(state.reading, state.setpoint)
        derivative = self._derivative(state, reading, given.elapsed + state.gap) if self.derivative_time else 0.0
        integral = self._track(state, admitted, given, resting)
        if proportional_before != state.proportional:  # re-tuned since
            integral = bounded(integral + (state.proportional - proportional_before))
        if resting:
            command = admitted
        else:
            if self.integral_time is not None:
                rate = bounded(self.gain * (error + error_before) / 2)
                # Divided before multiplied by time, so that a zero error cannot meet an infinity.
                integral = bounded(integral + bounded(rate / self.integral_time * (given.elapsed - given.held)))
            command = bounded(proportional + integral + derivative)
        after = PIDState(integral, derivative, proportional, reading, setpoint, command)
        return Decision((command,), after, {"P": proportional, "I": integral, "D": derivative})

    def _weigh(self, reading: float, setpoint: float) -> tuple[float, float]:
        """Return the error and the proportional term."""
        error = setpoint - reading
        if self.dead_band:
            # Only what exceeds the band counts: an outlier just beyond it must not kick the knob by the whole error.
            error = math.copysign(max(0.0, abs(error) - self.dead_band), error)
        return error, bounded(self.gain * (error - (1.0 - self.setpoint_weight) * setpoint))

    def _start(self, admitted: float, proportional: float, reading: float, setpoint: float, resting: bool) -> Decision:
        bumpless = resting or self.integral_time is not None
        command = admitted if bumpless else bounded(admitted + proportional)
        integral = admitted if self.integral_time is None else bounded(admitted - proportional)
        after = PIDState(integral, 0.0, proportional, reading, setpoint, command)
        return Decision((command,), after, {"P": proportional, "I": integral, "D": 0.0})

    def _rest(self, state: PIDState, admitted: float, given: Input) -> Decision:
        """Hold the knob where the reading says nothing."""
        if state.command is None:
            return Decision((admitted,), state, {})
        integral = self._track(state, admitted, given, resting=True)
        after = state._replace(integral=integral, command=admitted, gap=state.gap + given.elapsed)
        return Decision((admitted,), after, {})

    def _track(self, state: PIDState, admitted: float, given: Input, resting: bool) -> float:
        """Return the integral after the knob's departure from the last command has flowed into it."""
        departure = admitted - (admitted if state.command is None else state.command)
        if departure == 0 or (self.integral_time is None and not given.moved[0]):
            return state.integral
        share = 1.0
        # A knob at rest has no pending command, so nothing is left to unwind when it leaves the band.
        if self.integral_time is not None and not (given.moved[0] or resting):
            share = -math.expm1(-given.elapsed / (self.tracking_time or self.integral_time))
        return bounded(state.integral + share * departure)

    def _derivative(self, state: PIDState, reading: float, elapsed: int) -> float:
        """Return D after a straight line from the last reading to this one."""
        kept = math.exp(-elapsed * self.derivative_filter / self.derivative_time)
        slope = (reading - state.reading) / elapsed
        return bounded(kept * state.derivative - self.gain * self.derivative_time * (1.0 - kept) * slope)
