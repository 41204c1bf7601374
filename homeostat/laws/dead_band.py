"""A dead band with hysteresis, to be put in a `Chain` before a controller."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

from pydantic import Field, model_validator

from homeostat.laws.law import Decision, Input, Law, bounded


class DeadBandState(NamedTuple):
    """Whether the readings are passed on, and the ticks since the start."""

    awake: bool = False
    ticks: int = 0


class DeadBand(Law):
    """Answers with the setpoint while the reading is near enough to it, and with the reading once it is not.

    So the controller behind it sees no error in a run that is well as it is, and leaves its knob alone. Asleep, it
    wakes when the reading is more than `below` under the setpoint or more than `above` over it; awake, it falls
    asleep within `rest` of it. Give the controller a small dead band of its own, so that it rests at no error.

    With `log` the distances are between logarithms, for positive quantities; a reading or a setpoint of zero or
    below is passed on. The term `awake` is 1 while readings are passed on.

    Attributes:
        below: distance under the setpoint at which it wakes.
        above: distance over the setpoint at which it wakes.
        rest: distance at which it falls asleep.
        settling: ticks after which a reading under the setpoint counts as near enough, whatever its distance; None
            for never. For a quantity that falls by itself as a run converges: there a low reading means something
            at the start only.
        log: compare logarithms.

    Raises:
        pydantic.ValidationError: it would wake where it falls asleep.
    """

    below: float = Field(gt=0, le=1e100)
    above: float = Field(gt=0, le=1e100)
    rest: float = Field(ge=0, le=1e100)
    settling: int | None = Field(default=None, ge=0)
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.rest >= min(self.below, self.above):
            msg = (
                f"DeadBand.rest must be less than below and above; got {self.rest:g}, {self.below:g} and "
                f"{self.above:g}. Leave a gap wider than the reading's noise, or it wakes and sleeps by turns."
            )
            raise ValueError(msg)
        return self

    @property
    def needs_setpoint(self) -> bool:
        """A band lies around one."""
        return True

    @property
    def positive_setpoints(self) -> tuple[bool, ...]:
        """The one, with distances between logarithms."""
        return (self.log,)

    def init(self) -> DeadBandState:
        """Return the state before the first reading: asleep."""
        return DeadBandState()

    def update(self, state: DeadBandState, given: Input) -> Decision:
        """Answer with the setpoint or the reading."""
        reading, setpoint = bounded(given.readings[0]), bounded(given.setpoints[0])
        ticks = state.ticks + given.elapsed
        if self.log and (reading <= 0 or setpoint <= 0):
            return Decision((reading,), DeadBandState(state.awake, ticks), {})
        error = math.log(reading) - math.log(setpoint) if self.log else reading - setpoint
        if error < 0 and self.settling is not None and ticks > self.settling:
            awake = False
        elif state.awake:
            awake = abs(error) > self.rest
        else:
            awake = not -self.below <= error <= self.above
        return Decision((reading if awake else setpoint,), DeadBandState(awake, ticks), {"awake": float(awake)})
