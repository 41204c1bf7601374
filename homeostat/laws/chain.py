"""Laws in series."""

from __future__ import annotations

from itertools import pairwise, zip_longest
from typing import Any, Self

from pydantic import Field, SerializeAsAny, model_validator

from homeostat.laws.law import Decision, Input, Law


class Chain(Law):
    """Puts laws in series: the command of each is the reading of the next, and the last command moves the knob.

    Every law sees the same setpoints, admitted positions and elapsed ticks. So a filter before a controller smooths
    its reading, and a limit after it bounds its command; what such a limit holds back reaches the controller as
    `admitted`, like any other limit. A law that compares `admitted` with its own command (PID, MatrixPI) must not be
    followed by one that changes the command's unit (Affine).

    The state is the tuple of the members' states. Terms are named "position.Kind.term"; what passes from one law
    to the next is the term "position.Kind".

    Raises:
        pydantic.ValidationError: no laws, or one that gives another number of values than the next takes.
    """

    laws: tuple[SerializeAsAny[Law], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for first, second in pairwise(self.laws):
            if first.shape[1] != second.shape[0]:
                msg = (
                    f"A chained law must take as many readings as the one before gives commands; "
                    f"got {type(first).__name__} giving {first.shape[1]} to {type(second).__name__} "
                    f"taking {second.shape[0]}. Reorder the chain or change the laws' sizes."
                )
                raise ValueError(msg)
        return self

    @property
    def needs_setpoint(self) -> bool:
        """Whether any of the laws needs one."""
        return any(law.needs_setpoint for law in self.laws)

    @property
    def positive_setpoints(self) -> tuple[bool, ...]:
        """Those of which any of the laws takes the logarithm."""
        return tuple(map(any, zip_longest(*(law.positive_setpoints for law in self.laws), fillvalue=False)))

    @property
    def shape(self) -> tuple[int, int]:
        """The first law's number of readings, the last law's number of commands."""
        return self.laws[0].shape[0], self.laws[-1].shape[1]

    def init(self) -> tuple[Any, ...]:
        """Return the members' states."""
        return tuple(law.init() for law in self.laws)

    def update(self, state: tuple[Any, ...], given: Input) -> Decision:
        """Pass the readings through all laws."""
        states = []
        terms: dict[str, float] = {}
        for i, (law, inner) in enumerate(zip(self.laws, state, strict=True)):
            decision = law.update(inner, given)
            name = f"{i}.{type(law).__name__}"
            terms.update((f"{name}.{term}", value) for term, value in decision.terms.items())
            if len(decision.command) == 1 and i + 1 < len(self.laws):
                terms[name] = decision.command[0]
            states.append(decision.state)
            given = given._replace(readings=decision.command)
        return Decision(given.readings, tuple(states), terms)
