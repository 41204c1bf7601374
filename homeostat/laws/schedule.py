"""Open-loop control: a course planned before the run."""

from __future__ import annotations

from typing import NamedTuple

from homeostat.laws.law import Decision, Input, Law
from homeostat.profile import Profile


class ScheduleState(NamedTuple):
    """Ticks since the first decision; None before it."""

    ticks: int | None = None


class Schedule(Law):
    """Moves the knob along `profile`, whatever the reading.

    The profile's tick 0 is the first decision. What something else did to the knob is overwritten at the next one.
    """

    profile: Profile

    def init(self) -> ScheduleState:
        """Return the state before tick 0."""
        return ScheduleState()

    def update(self, state: ScheduleState, given: Input) -> Decision:
        """Answer with the profile's value at the present tick."""
        ticks = 0 if state.ticks is None else state.ticks + given.elapsed
        return Decision((self.profile.at(ticks),), ScheduleState(ticks), {})
