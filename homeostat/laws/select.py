"""Several laws on one knob, of which the most cautious has its way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from homeostat.laws.law import Decision, Input, Law


class Select(Law):
    """Commands the lowest (or highest) of what its laws command, each on readings and setpoints of its own.

    Override control: one law steers a quantity to its setpoint, the others keep further quantities from crossing
    theirs, and whichever asks for the least wins. A loser sees the winner's position as `admitted`, so its anti-windup
    keeps it near and it takes over without a jump. Readings and setpoints are those of the laws in order, one after
    the other (a `CoupledLoop` with all their observers).

    The state is the tuple of the laws' states. Terms are named "position.Kind.term"; each law's command is
    "position.Kind", and "chosen" is the position of the winner.

    Raises:
        pydantic.ValidationError: fewer than two laws, or one that gives several commands.

    Source: K. J. Åström and T. Hägglund, Advanced PID Control, 2006, chapter 12.
    """

    laws: tuple[SerializeAsAny[Law], ...] = Field(min_length=2)
    choose: Literal["lowest", "highest"] = "lowest"

    @model_validator(mode="after")
    def _check(self) -> Self:
        for law in self.laws:
            if law.shape[1] != 1:
                msg = (
                    f"Select's laws must give one command each; got {type(law).__name__} giving {law.shape[1]}. "
                    "Select for each knob on its own."
                )
                raise ValueError(msg)
        return self

    @property
    def needs_setpoint(self) -> bool:
        """Whether any of the laws needs one."""
        return any(law.needs_setpoint for law in self.laws)

    @property
    def positive_setpoints(self) -> tuple[bool, ...]:
        """Each law's own."""
        return tuple(positive for law in self.laws for positive in law.positive_setpoints)

    @property
    def shape(self) -> tuple[int, int]:
        """All the laws' readings, one command."""
        return sum(law.shape[0] for law in self.laws), 1

    def init(self) -> tuple[Any, ...]:
        """Return the laws' states."""
        return tuple(law.init() for law in self.laws)

    def update(self, state: tuple[Any, ...], given: Input) -> Decision:
        """Ask every law and take the lowest or highest command."""
        decisions = [law.update(inner, part) for law, inner, part in self._parts(state, given)]
        commands = [decision.command[0] for decision in decisions]
        best = min(commands) if self.choose == "lowest" else max(commands)
        terms = {"chosen": float(commands.index(best))}
        for i, (law, decision) in enumerate(zip(self.laws, decisions, strict=True)):
            name = f"{i}.{type(law).__name__}"
            terms[name] = decision.command[0]
            terms.update((f"{name}.{term}", value) for term, value in decision.terms.items())
        return Decision((best,), tuple(decision.state for decision in decisions), terms)

    def _parts(self, state: tuple[Any, ...], given: Input) -> Iterator[tuple[Law, Any, Input]]:
        """Yield each law with its state and its share of the readings and setpoints."""
        at = 0
        for law, inner in zip(self.laws, state, strict=True):
            end = at + law.shape[0]
            part = given._replace(readings=given.readings[at:end], setpoints=given.setpoints[at:end])
            yield law, inner, part
            at = end
