"""A law that sets the setpoint of another."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from pydantic import Field, SerializeAsAny, model_validator

from homeostat.laws.law import Decision, Input, Law, bounded


class CascadeState(NamedTuple):
    """What the next decision needs.

    Attributes:
        outer: the outer law's state.
        inner: the inner law's state.
        setpoint: the inner law's last setpoint; None before the first decision.
        command: the last command.
    """

    outer: Any
    inner: Any
    setpoint: float | None = None
    command: float = 0.0


class Cascade(Law):
    """Steers a slow reading by commanding the setpoint of a law that steers a fast one, which moves the knob.

    Readings are (outer, inner), setpoints likewise: the outer law's, and where the inner one's starts. Disturbances
    within the fast loop are gone before the slow one sees them, if the inner loop is several times faster.

    While the knob does not follow the inner command (a limit, a slew), the inner reading is what can be had: the outer
    law then sees it as the admitted position, so that it does not wind up behind the inner one. When something else
    moves the knob, the inner law goes on from there.

    Terms are the members', as "outer.term" and "inner.term", and "setpoint", the inner one.

    Attributes:
        outer: its command is a setpoint, in units of the inner reading.
        inner: its command moves the knob.
        low: least inner setpoint; None for no limit.
        high: greatest inner setpoint; None for no limit.

    Raises:
        pydantic.ValidationError: a law of several readings or commands, or an inner one without a setpoint.

    Source: K. J. Åström and T. Hägglund, Advanced PID Control, 2006, chapter 12.
    """

    outer: SerializeAsAny[Law]
    inner: SerializeAsAny[Law]
    low: float | None = Field(default=None, ge=-1e100, le=1e100)
    high: float | None = Field(default=None, ge=-1e100, le=1e100)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for law in (self.outer, self.inner):
            if law.shape != (1, 1):
                msg = (
                    f"A Cascade's laws must take one reading and give one command; got {type(law).__name__} of shape "
                    f"{law.shape}. Use scalar laws."
                )
                raise ValueError(msg)
        if not self.inner.needs_setpoint:
            msg = (
                f"A Cascade's inner law must follow a setpoint; got {type(self.inner).__name__}, which has none. "
                "Use a PID, or a Chain where the outer command is a reading."
            )
            raise ValueError(msg)
        if self.low is not None and self.high is not None and self.low >= self.high:
            msg = f"Cascade.low must be below Cascade.high; got {self.low:g} and {self.high:g}. Swap or widen them."
            raise ValueError(msg)
        return self

    @property
    def needs_setpoint(self) -> bool:
        """The inner setpoint starts somewhere."""
        return True

    @property
    def positive_setpoints(self) -> tuple[bool, ...]:
        """The outer law's and the inner one's."""
        return self.outer.positive_setpoints + self.inner.positive_setpoints

    @property
    def shape(self) -> tuple[int, int]:
        """The outer and the inner reading, one command."""
        return 2, 1

    def init(self) -> CascadeState:
        """Return the state before the first decision."""
        return CascadeState(self.outer.init(), self.inner.init())

    def update(self, state: CascadeState, given: Input) -> Decision:
        """Decide on the inner setpoint, then on the knob."""
        (slow, fast), (wanted, start) = given.readings, given.setpoints
        first = state.setpoint is None
        here = start if state.setpoint is None else state.setpoint
        if not first and not given.moved[0] and given.admitted[0] != state.command:
            here = fast
        asked = Input((slow,), (wanted,), (self._clip(here),), (first,), given.elapsed, given.held)
        outer = self.outer.update(state.outer, asked)
        setpoint = self._clip(outer.command[0])
        inner = self.inner.update(state.inner, given._replace(readings=(fast,), setpoints=(setpoint,)))
        terms = {"setpoint": setpoint}
        for name, decision in (("outer", outer), ("inner", inner)):
            terms.update((f"{name}.{term}", value) for term, value in decision.terms.items())
        return Decision(inner.command, CascadeState(outer.state, inner.state, setpoint, inner.command[0]), terms)

    def _clip(self, setpoint: float) -> float:
        low = -1e100 if self.low is None else self.low
        return bounded(min(max(setpoint, low), 1e100 if self.high is None else self.high))
