"""A guard: what is watched, what tells of a fault, what is done about it. The frozen form, as a recipe holds it."""

from __future__ import annotations

from typing import Any, Literal, Self, get_args

from pydantic import Field, SerializeAsAny, model_validator

from homeostat.guards.detector import Detector
from homeostat.observers.gradient import GradientNorm
from homeostat.observers.loss import Loss
from homeostat.observers.observer import Observer
from homeostat.part import Part, snake

Answer = Literal["alarm", "cut", "skip", "reset", "rollback", "abort"]
"""What is done about a fault, the mildest first.

alarm     a warning.
cut       this step's gradient is scaled down to its usual norm, and the step is taken.
skip      this step is not taken: weights, moments and schedules of the optimizer do not hear of its gradient.
reset     the optimizers' moments begin anew, and this step is not taken.
rollback  weights, buffers, dials and optimizer state are what they were in the last good snapshot; this step's
          gradient, which belongs to the weights that are gone, is not used.
abort     the last good snapshot is put back, and `GuardAbort` is raised out of `optimizer.step`.
"""
ANSWERS: tuple[Answer, ...] = get_args(Answer)


class Guard(Part):
    """Answers what feedback is too slow for: a fault, within the step or by going back.

    A guard is *exact* where its verdict is there before the step changes weights: in one process on the CPU, with a
    metric, a gradient or an activation for a reading, and without a closure. Else it is *deferred*: the fault is found
    when the step has been taken, and a cut or a skip would come too late, so that a rollback takes their place.

    An exact guard on a metric (`Loss` without smoothing) looks at every tick's own value, by one comparison, and
    teaches its detector one value in `every`; so does one on `RunningVariance`. A deferred one reads, every `every`
    ticks, the worst since the last reading. On other observers a guard looks every `every` ticks.

    Attributes:
        observer: what is watched.
        detector: what tells of a fault.
        answer: what is done at first; the `Ladder` says what follows.
        every: ticks between two readings.
        young: ticks at the start in which the detector of an exact guard on a metric learns from each, since losses
            fall fast there, and there are few to judge by.
        cooldown: ticks after a reset, or a rollback without a replay, of whichever guard, in which this one finds
            nothing.
        name: in records and reports; by default made of the observer's and the detector's kinds.
        optional: leave the guard out where the plant offers no such reading, instead of refusing.

    Raises:
        pydantic.ValidationError: "cut" without the gradient's norm to cut to.
    """

    observer: SerializeAsAny[Observer]
    detector: SerializeAsAny[Detector]
    answer: Answer = "skip"
    every: int = Field(default=5, ge=1)
    young: int = Field(default=200, ge=0)
    cooldown: int = Field(default=0, ge=0)
    name: str = ""
    optional: bool = False

    def __init__(
        self,
        observer: Observer | None = None,
        detector: Detector | None = None,
        answer: Answer | None = None,
        **fields: Any,
    ) -> None:
        given = {"observer": observer, "detector": detector, "answer": answer}
        super().__init__(**{key: part for key, part in given.items() if part is not None}, **fields)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.answer == "cut" and not isinstance(self.observer, GradientNorm):
            msg = (
                f"A guard that cuts must watch GradientNorm; got {type(self.observer).__name__}. "
                "Watch the norm, or answer with skip."
            )
            raise ValueError(msg)
        return self

    @property
    def title(self) -> str:
        """The name, or one made of what is watched and how: "loss spike", "gradient_norm spike"."""
        return self.name or f"{self.watched} {snake(type(self.detector).__name__)}"

    @property
    def watched(self) -> str:
        """What is watched: a metric's name, or the observer's kind."""
        return self.observer.metric if isinstance(self.observer, Loss) else snake(type(self.observer).__name__)

    @property
    def metric(self) -> str | None:
        """The metric whose every value can be looked at at once; None where the observer has to measure."""
        found = self.observer
        return found.metric if type(found) is Loss and found.smoothing == 0 else None
