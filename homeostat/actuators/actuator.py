"""The role of an actuator: the only thing that changes the plant."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from homeostat.part import Part
from homeostat.plant import Plant

Scale = Literal["linear", "log"]


class Admission(NamedTuple):
    """A command after limits and slew.

    Attributes:
        position: what was admitted, in the actuator's coordinate.
        limits: why it differs from the command: any of "low", "high", "slew".
    """

    position: float
    limits: tuple[str, ...]


class Actuator(Part):
    """Moves one knob of the plant within limits.

    Laws work in the actuator's *coordinate*: the value itself, or its natural logarithm where `scale` is
    "log", so that gains are relative and limits symmetric. `slew` and `quantum` are in that coordinate too.

    Attributes:
        low: least value, in the knob's own units; must be positive on a log scale.
        high: greatest value.
        scale: "linear" or "log".
        slew: greatest change of the coordinate per tick since the last decision; one that was held counts, so that the
            time of a hold is not made up for in one jump.
        quantum: step of the coordinate at which the knob moves (16 on a linear scale: multiples of 16; ln 2 on
            a log scale: powers of two). A new step is taken once the admitted position is 0.75 of a quantum away.

    Raises:
        pydantic.ValidationError: limits in the wrong order, a log scale that touches zero.
    """

    low: float
    high: float
    scale: Scale = "linear"
    slew: float | None = Field(default=None, gt=0)
    quantum: float | None = Field(default=None, gt=0)

    # Written before every step and undone after it, rather than once.
    transient: ClassVar[bool] = False
    # Transient actuators act in this order before a step, in the reverse order after it.
    order: ClassVar[int] = 0

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        name = type(self).__name__
        if self.low >= self.high:
            msg = f"{name}.low must be below {name}.high; got low={self.low:g}, high={self.high:g}. Swap or widen them."
            raise ValueError(msg)
        if self.scale == "log" and self.low <= 0:
            msg = (
                f"{name}.low must be positive on a log scale; got {self.low:g}. A coefficient at 0 can never leave it: "
                "choose a floor above 0."
            )
            raise ValueError(msg)
        return self

    def coordinate(self, value: float) -> float:
        """Map a knob value to the coordinate laws work in; values outside the limits are mapped as they are."""
        return math.log(max(value, 1e-300)) if self.scale == "log" else value

    def value(self, coordinate: float) -> float:
        """Map a coordinate back to a knob value."""
        return math.exp(min(coordinate, 700.0)) if self.scale == "log" else coordinate

    def admit(self, command: float, position: float, elapsed: int) -> Admission:
        """Bring `command` within slew of `position` and within the limits; limits win over slew."""
        limits: list[str] = []
        admitted = command
        if self.slew is not None:
            reach = self.slew * elapsed
            admitted = min(max(command, position - reach), position + reach)
            if admitted != command:
                limits.append("slew")
        low, high = self.coordinate(self.low), self.coordinate(self.high)
        if admitted < low:
            admitted = low
            limits.append("low")
        elif admitted > high:
            admitted = high
            limits.append("high")
        return Admission(admitted, tuple(limits))

    def quantise(self, position: float, delivered: float) -> float:
        """Return the step to deliver for `position`: the old one, `delivered`, until it is 0.75 quantum away."""
        if self.quantum is None:
            return position
        if abs(position - delivered) < 0.75 * self.quantum:
            return delivered
        step = round(position / self.quantum) * self.quantum
        return min(max(step, self.coordinate(self.low)), self.coordinate(self.high))

    def fitted(self, plant: Plant) -> Self:
        """Return this actuator with its limits narrowed to what the plant's knob can make use of.

        Raises:
            AttachError: nothing is left between the limits, or there is no such knob.
        """
        del plant
        return self

    def init(self, plant: Plant) -> Any:
        """Return what is needed to write to `plant` (also what is found there now, for `release`).

        Raises:
            AttachError: the plant offers no such knob, or one this actuator would harm.
        """
        del plant

    @abstractmethod
    def targets(self, plant: Plant) -> frozenset[str]:
        """Name what is written, so that two loops cannot write one thing."""

    @abstractmethod
    def read(self, plant: Plant, memory: Any) -> float:
        """Return the knob's value now, in its own units."""

    @abstractmethod
    def write(self, plant: Plant, memory: Any, value: float) -> float:
        """Set the knob; returns the value delivered after rounding to the knob's own type."""

    def before_step(self, plant: Plant, memory: Any) -> None:
        """Act on the step about to be taken (transient actuators)."""
        del plant, memory

    def after_step(self, plant: Plant, memory: Any) -> None:
        """Undo or complete what `before_step` did; also called after a step that failed."""
        del plant, memory

    def unread(self, plant: Plant, memory: Any) -> tuple[str, ...]:
        """Name the knobs written that nothing read during the first step; empty where that cannot be told."""
        del plant, memory
        return ()

    def save(self, plant: Plant, memory: Any) -> Any:
        """Return what the next steps owe to earlier ones, the knob's value apart, as plain data; None for nothing."""
        del plant, memory

    def load(self, plant: Plant, memory: Any, saved: Any) -> None:
        """Continue from what `save` returned."""
        del plant, memory, saved

    def release(self, plant: Plant, memory: Any) -> None:
        """Remove whatever besides the value was placed in the plant."""
        del plant, memory
