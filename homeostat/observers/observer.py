"""The role of an observer: it measures the plant and never writes to it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from homeostat.part import Part
from homeostat.plant import Plant

Phase = Literal["metrics", "gradients", "proposals", "updates", "activations"]
Reduction = Literal["mean", "sum", "max"]


class Observer(Part):
    """Measures one number of the plant.

    The life of a measurement, when a loop is due at tick t:

    1. `prepare` arms what must be ready beforehand: for phase "activations" after the step of tick t - 1, so
       before the forward pass of t; for "proposals" and "updates" before the step of tick t - 1.
    2. `observe` returns the number as a 0-d tensor on the device, without waiting for it: phases "metrics",
       "gradients" and "activations" before the step of t; "proposals" right after the optimizer's own update in
       the step of t - 1; "updates" when actuators have limited that step too. None means that there is nothing to
       read this time.
    3. All numbers of a tick travel to the host in one vector, reduced over the process group by `reduction`.
    4. `interpret` turns the number into the reading. Whatever a reading owes to the past is kept here, in
       `history`: plain floats, equal on every rank, saved with the controller.

    `memory` is this rank's scratch on the device (indices, copies, armed hooks). It is not saved, but for what `save`
    returns of it.

    Attributes:
        phase: when the observer runs within a tick.
        reduction: how ranks are joined; "max" sends one number a rank, in the same collective.
        instant: whether it costs so little, and leaves so little behind, that a guard may look at every step.
    """

    phase: ClassVar[Phase] = "metrics"
    reduction: ClassVar[Reduction] = "mean"
    instant: ClassVar[bool] = False

    def init(self, plant: Plant) -> Any:
        """Return the scratch memory for `plant`.

        Raises:
            AttachError: the plant has nothing of this kind to measure.
        """
        del plant

    def attach(self, plant: Plant, memory: Any) -> tuple[RemovableHandle, ...]:
        """Place hooks or listeners; the controller removes what is returned when it detaches."""
        del plant, memory
        return ()

    def prepare(self, plant: Plant, memory: Any) -> None:
        """Get ready for a measurement that is due."""
        del plant, memory

    @abstractmethod
    def observe(self, plant: Plant, memory: Any) -> Tensor | float | None:
        """Measure once: shape () on the plant's device, or a number that the host has at hand; None for no reading."""

    def missing(self, memory: Any) -> str:
        """Return what is to be said of a measurement that gave None, once; empty for nothing."""
        del memory
        return ""

    def glance(self, plant: Plant, memory: Any) -> Tensor | float | None:
        """Return what guards compare in the steps between two readings, if `instant`: all of it, or less for less."""
        return self.observe(plant, memory)

    def start(self) -> Any:
        """Return the history before the first reading."""
        return ()

    def interpret(self, value: float, history: Any) -> tuple[float | None, Any]:
        """Turn a measured, reduced number into a reading; None if there is none yet."""
        return value, history

    def save(self, memory: Any) -> Any:
        """Return what the next measurements owe to earlier ones, as plain data; None for nothing."""
        del memory

    def load(self, plant: Plant, memory: Any, saved: Any) -> None:
        """Continue from what `save` returned."""
        del plant, memory, saved
