"""A measured disturbance answered before it shows in the reading."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from pydantic import SerializeAsAny, model_validator

from homeostat.laws.law import Decision, Input, Law, bounded


class FeedForwardState(NamedTuple):
    """What the next decision needs.

    Attributes:
        feedback: the feedback law's state.
        forward: the feed-forward law's state.
        start: what the feed-forward law answered first; None before that.
        answer: what it answered last.
    """

    feedback: Any
    forward: Any
    start: float | None = None
    answer: float = 0.0


class FeedForward(Law):
    """Adds to a feedback law's command what a second law makes of a measured disturbance.

    u = feedback(readings) + forward(disturbance now) - forward(disturbance at the start). The last reading is the
    disturbance, the others are the feedback law's; so for its setpoint (a loop gives one a reading, and this one is
    ignored). On a plant of gain k whose reading the disturbance moves with gain g, `forward=Affine(gain=-g / k)` takes
    its lasting effect away; a `Chain` with an `EMA` before it matches a disturbance that acts more slowly than the
    knob. What it gets wrong is left to feedback, as is stability: it closes no loop.

    The feedback law sees `admitted` without what was added, so its anti-windup and its bumpless start hold; the
    feed-forward law sees its own last answer there, first 0. Terms are "feedback.term", and "forward", what is added.

    Raises:
        pydantic.ValidationError: a feedback law of several commands; a feed-forward law that is not scalar or needs a
            setpoint.

    Source: K. J. Åström and T. Hägglund, Advanced PID Control, 2006, chapter 5.
    """

    feedback: SerializeAsAny[Law]
    forward: SerializeAsAny[Law]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.feedback.shape[1] != 1:
            msg = (
                f"FeedForward's feedback law must give one command; got {type(self.feedback).__name__} giving "
                f"{self.feedback.shape[1]}. Add a disturbance to one knob at a time."
            )
            raise ValueError(msg)
        if self.forward.shape != (1, 1) or self.forward.needs_setpoint:
            msg = (
                "FeedForward's forward law must map one reading without a setpoint; got "
                f"{type(self.forward).__name__}. Use Affine, or a Chain of filters."
            )
            raise ValueError(msg)
        return self

    @property
    def needs_setpoint(self) -> bool:
        """Whether the feedback law does."""
        return self.feedback.needs_setpoint

    @property
    def positive_setpoints(self) -> tuple[bool, ...]:
        """The feedback law's, and none for the disturbance."""
        return (*self.feedback.positive_setpoints, False)

    @property
    def shape(self) -> tuple[int, int]:
        """The feedback law's readings and the disturbance, one command."""
        return self.feedback.shape[0] + 1, 1

    def init(self) -> FeedForwardState:
        """Return the state before the first decision."""
        return FeedForwardState(self.feedback.init(), self.forward.init())

    def update(self, state: FeedForwardState, given: Input) -> Decision:
        """Decide once."""
        disturbance = given._replace(
            readings=given.readings[-1:], setpoints=(), admitted=(state.answer,), moved=(state.start is None,)
        )
        ahead = self.forward.update(state.forward, disturbance)
        (answer,) = ahead.command
        start = answer if state.start is None else state.start
        before = 0.0 if state.start is None else bounded(state.answer - start)
        added = bounded(answer - start)
        share = given._replace(
            readings=given.readings[:-1],
            setpoints=given.setpoints[:-1],
            admitted=(bounded(given.admitted[0] - before),),
        )
        back = self.feedback.update(state.feedback, share)
        terms = {f"feedback.{term}": value for term, value in back.terms.items()} | {"forward": added}
        after = FeedForwardState(back.state, ahead.state, start, answer)
        return Decision((bounded(back.command[0] + added),), after, terms)
