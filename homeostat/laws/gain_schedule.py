"""A law whose gains follow a second reading."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import Any, Self

from pydantic import Field, SerializeAsAny, ValidationError, model_validator

from homeostat.laws.law import Decision, Input, Law

Point = tuple[float, SerializeAsAny[Law]]


class GainSchedule(Law):
    """Is the law of its points, with every number in it interpolated linearly by the last reading.

    For a plant whose answer changes with something that is measured: give the tuning at two or more values of that;
    between them each field of the law is interpolated, beyond them it is the nearest point's. The other readings are
    the law's own; so for the last one's setpoint (a loop gives one a reading, and this one is ignored).

    The law's state goes on as its fields change, so the law must take a change of fields without a bump (as PID,
    LogIntegrator and SignIntegrator do), and the scheduling reading should move more slowly than the loop: stability
    at each point does not prove stability of a fast transition between them.

    Attributes:
        points: (value of the last reading, law there), values rising; laws of one kind that differ in numbers only.

    Raises:
        pydantic.ValidationError: fewer than two points, values that do not rise, or laws that cannot be interpolated:
            of different kinds, or with a field whose sign changes though it must not be 0.

    Source: W. J. Rugh and J. S. Shamma, Research on Gain Scheduling, 2000.
    """

    points: tuple[Point, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for (left, first), (right, law) in pairwise(self.points):
            if left >= right:
                msg = f"GainSchedule's points must rise; got {left:g} before {right:g}. Sort them and drop doubles."
                raise ValueError(msg)
            if type(law) is not type(first):
                msg = (
                    "GainSchedule's laws must be of one kind; got "
                    f"{type(first).__name__} and {type(law).__name__}. Interpolate the fields of one."
                )
                raise ValueError(msg)
            for name in type(law).model_fields:
                _check_between(law, name, getattr(first, name), getattr(law, name))
        return self

    @property
    def needs_setpoint(self) -> bool:
        """Whether the scheduled law does."""
        return self.points[0][1].needs_setpoint

    @property
    def positive_setpoints(self) -> tuple[bool, ...]:
        """The scheduled law's, and none for the scheduling reading."""
        return (*self.points[0][1].positive_setpoints, False)

    @property
    def shape(self) -> tuple[int, int]:
        """The scheduled law's readings and the scheduling one; its commands."""
        readings, commands = self.points[0][1].shape
        return readings + 1, commands

    def init(self) -> Any:
        """Return the scheduled law's state."""
        return self.points[0][1].init()

    def update(self, state: Any, given: Input) -> Decision:
        """Decide by the law interpolated at the last reading."""
        law = self.at(given.readings[-1])
        return law.update(state, given._replace(readings=given.readings[:-1], setpoints=given.setpoints[:-1]))

    def at(self, value: float) -> Law:
        """Return the law at `value` of the scheduling reading."""
        place = bisect_right([at for at, _ in self.points], value)
        if place in {0, len(self.points)}:
            return self.points[max(place - 1, 0)][1]
        (left, first), (right, law) = self.points[place - 1 : place + 1]
        share = (value - left) / (right - left)
        ends = {name: (getattr(first, name), getattr(law, name)) for name in type(law).model_fields}
        # Fields are bounded by intervals, and 0 was tried, so what lies between two valid values needs no validation.
        return first.model_copy(update={name: a + share * (b - a) for name, (a, b) in ends.items() if a != b})


def _check_between(law: Law, name: str, here: Any, there: Any) -> None:
    """Refuse a field of the law that cannot take every value between two."""
    if here == there:
        return
    if type(here) is not float or type(there) is not float:
        msg = (
            f"GainSchedule's laws must differ in numbers only; got {name} {here} and {there}. "
            f"Make {name} alike, or give a number at every point."
        )
        raise ValueError(msg)
    if here * there > 0:
        return
    try:
        # A gain on its way from one sign to the other is 0 somewhere, which many laws refuse or divide by.
        type(law).model_validate({field: getattr(law, field) for field in type(law).model_fields} | {name: 0.0})
    except ValidationError as error:
        msg = (
            f"GainSchedule's laws must be valid between the points too; got {name} {here:g} and {there:g}, which "
            "passes 0. Give it one sign."
        )
        raise ValueError(msg) from error
