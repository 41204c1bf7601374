"""The base of actuators whose knob is an upper limit: open at the top."""

from __future__ import annotations

from typing import ClassVar, Protocol, Self

from pydantic import Field, model_validator

from homeostat.actuators.actuator import Actuator, Scale
from homeostat.plant import Plant

# Share of a limit from which on a step is no longer quiet: a typical norm is a third of what `steady` clips at, and in
# good runs single ones reach 1.8 times the typical one.
NEAR = 0.65


class Knob(Protocol):
    """Memory that holds the limit, and whether it is none."""

    value: float
    is_open: bool


class LimitActuator(Actuator):
    """Keeps a size below a limit in every step; at `high` the limit is open and the step is not touched.

    Attributes:
        start: limit to begin with; None begins open, at `high`.
        lot: of so many steps one is inspected, once `calm` in a row stayed below `NEAR` of the limit, and until one
            does not (`Lots`). A single outlier among quiet steps then passes with probability 1 - 1 / lot, unless the
            actuator has another way to tell. The default inspects every step, which costs a pass over the tensors.
        calm: see `lot`.

    Raises:
        pydantic.ValidationError: limits in the wrong order or not positive, or a start outside of them.
    """

    low: float = 1e-4
    high: float
    scale: Scale = "log"
    start: float | None = None
    lot: int = Field(default=1, ge=1)
    calm: int = Field(default=20, ge=1)

    transient: ClassVar[bool] = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        name = type(self).__name__
        if self.low <= 0:
            msg = f"{name}.low must be positive; got {self.low:g}. A limit of 0 stops the training: raise it."
            raise ValueError(msg)
        if self.start is not None and not self.low <= self.start <= self.high:
            msg = f"{name}.start must lie in {self.low:g}..{self.high:g}; got {self.start:g}. Move it or the limits."
            raise ValueError(msg)
        return self

    @property
    def first(self) -> float:
        """Where the knob begins."""
        return self.high if self.start is None else self.start

    def is_open(self, limit: float) -> bool:
        """Tell whether `limit` is no limit; exp(log(high)) may miss `high` by a rounding."""
        return limit >= self.high * (1 - 1e-9)

    def read(self, plant: Plant, memory: Knob) -> float:
        """Return the limit."""
        del plant
        return memory.value

    def write(self, plant: Plant, memory: Knob, value: float) -> float:
        """Set the limit of the next steps."""
        del plant
        memory.value, memory.is_open = value, self.is_open(value)
        return value
