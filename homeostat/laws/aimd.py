"""Additive increase, multiplicative decrease."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from homeostat.laws.law import Decision, Input, Law, bounded


class AIMDState(NamedTuple):
    """Ticks left of the pause after a decrease."""

    pause: int = 0


class AIMD(Law):
    """Raises the knob by `increase` a tick while the reading is at most the setpoint, else cuts it by a factor.

    u <- u + increase * elapsed, or on too high a reading u <- floor + factor * (u - floor), from the admitted position.
    For a knob on a linear scale that asks for as much as the run will bear (a batch, a loss scale, a concurrency): it
    probes slowly and retreats at once. After a cut it waits `pause` ticks before it may cut again, so that one overload
    that is seen late is not answered twice. The time of a hold is no time to rise in.

    Bound. If the reading is too high exactly while u > c, then once u has been cut below c + increase * elapsed it
    keeps within floor + factor (c - floor) <= u <= c + increase * elapsed: a sawtooth with mean about (1 + factor) / 2
    of c over the floor.

    Attributes:
        increase: step up in a tick, in knob coordinate.
        factor: what a cut leaves of the distance to the floor.
        floor: the position that cuts approach.
        pause: ticks after a cut in which the knob neither rises nor is cut.

    Source: D.-M. Chiu and R. Jain, Analysis of the Increase and Decrease Algorithms for Congestion Avoidance, 1989.
    """

    increase: float = Field(gt=0, le=1e100)
    factor: float = Field(default=0.5, gt=0, lt=1)
    floor: float = Field(default=0.0, ge=-1e100, le=1e100)
    pause: int = Field(default=0, ge=0)

    @property
    def needs_setpoint(self) -> bool:
        """Too high means above it."""
        return True

    def init(self) -> AIMDState:
        """Return the state without a pause."""
        return AIMDState()

    def update(self, state: AIMDState, given: Input) -> Decision:
        """Raise, wait or cut."""
        admitted = bounded(given.admitted[0])
        time = given.elapsed - given.held
        if state.pause > time:
            return Decision((admitted,), AIMDState(state.pause - time), {"step": 0.0})
        if given.readings[0] > given.setpoints[0]:
            step = (self.factor - 1.0) * max(0.0, admitted - self.floor)
            return Decision((bounded(admitted + step),), AIMDState(self.pause), {"step": step})
        step = bounded(self.increase * (time - state.pause))
        return Decision((bounded(admitted + step),), AIMDState(), {"step": step})
