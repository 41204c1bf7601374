"""The optimizer's learning rate."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor
from torch.optim import Optimizer

from homeostat.actuators.actuator import Actuator, Scale
from homeostat.errors import AttachError
from homeostat.plant import Plant, estimates_rate

Group = dict[str, Any]


class _Factor:
    """The knob, the places of the groups (None for all), and what must be put back after the step under way."""

    def __init__(self, places: frozenset[tuple[int, int]] | None) -> None:
        self.value = 1.0
        self.places = places
        # One entry each of a group, replaced for the length of a step: group, key, original, scaled.
        self.changes: list[tuple[Group, str, Any, Any]] = []

    def replace(self, group: Group, key: str, scaled: Any) -> None:
        self.changes.append((group, key, group[key], scaled))
        group[key] = scaled


class LearningRate(Actuator):
    """Multiplies the learning rate by a factor, on top of whatever schedule the user runs.

    Just before a step each group's `lr` is replaced by lr * factor, and just after it the original object is put
    back, so schedulers, checkpoints and logs see their own value only. A factor of 1 touches nothing. The factor
    cannot reach what an optimizer derives from past rates: Schedule-Free's averaging weights keep the greatest
    rate they have seen (`lr_max`).

    Attributes:
        groups: numbers of the parameter groups (counted through all optimizers, at attach); None for all.
        decay: "coupled" lets decoupled weight decay follow the rate, as the optimizer defines it; "fixed" keeps
            lr * weight_decay at the schedule's value (AdamW and torch's other decoupled optimizers).

    Raises:
        AttachError: a group does not exist, it has no rate, or its optimizer estimates the rate itself (Prodigy,
            D-Adaptation).
    """

    low: float = 1e-4
    high: float = 1e4
    scale: Scale = "log"
    groups: tuple[int, ...] | None = Field(default=None, min_length=1)
    decay: Literal["coupled", "fixed"] = "coupled"

    transient: ClassVar[bool] = True
    order: ClassVar[int] = 10

    def init(self, plant: Plant) -> _Factor:
        """Check the groups; the knob starts at 1."""
        places = plant.places()
        for i in self.groups or ():
            if not 0 <= i < len(places):
                msg = f"LearningRate.groups must lie in 0..{len(places) - 1}; got {i}. Name groups that exist."
                raise AttachError(msg)
        memory = _Factor(None if self.groups is None else frozenset(places[i] for i in self.groups))
        for i, group in enumerate(plant.groups):
            if self.groups is not None and i not in self.groups:
                continue
            if "lr" not in group:
                msg = f"LearningRate must find a rate; got no 'lr' in group {i}. Name `groups`, or drop the loop."
                raise AttachError(msg)
            if estimates_rate(group):
                msg = (
                    f"LearningRate must not scale an optimizer that estimates its own rate; got a 'd' in group {i}. "
                    "Leave its rate alone (a factor destroys the estimate), or use AdamW."
                )
                raise AttachError(msg)
        return memory

    def targets(self, plant: Plant) -> frozenset[str]:
        """Name the rates of the selected groups."""
        return frozenset(
            f"group {i}: lr" for i, _ in enumerate(plant.groups) if self.groups is None or i in self.groups
        )

    def read(self, plant: Plant, memory: _Factor) -> float:
        """Return the factor."""
        del plant
        return memory.value

    def write(self, plant: Plant, memory: _Factor, value: float) -> float:
        """Set the factor of the next steps."""
        del plant
        memory.value = value
        return value

    def before_step(self, plant: Plant, memory: _Factor) -> None:
        """Put the scaled rates in place."""
        if memory.changes:
            self.after_step(plant, memory)
        if memory.value == 1.0:
            return
        tensors: dict[int, Tensor] = {}
        for i, optimizer in enumerate(plant.optimizers):
            for j, group in enumerate(optimizer.param_groups if optimizer in plant.stepping else ()):
                if memory.places is not None and (i, j) not in memory.places:
                    continue
                rate = group["lr"]
                if type(rate) is not float and isinstance(rate, Tensor):
                    # One tensor may serve every group: one new tensor then serves them all.
                    if id(rate) not in tensors:
                        tensors[id(rate)] = rate.detach() * memory.value
                    memory.replace(group, "lr", tensors[id(rate)])
                else:
                    memory.replace(group, "lr", rate * memory.value)
                if self.decay == "fixed" and _is_decoupled(optimizer, group):
                    memory.replace(group, "weight_decay", group["weight_decay"] / memory.value)

    def after_step(self, plant: Plant, memory: _Factor) -> None:
        """Put the schedule's rates back, unless the step itself set another."""
        del plant
        for group, key, original, scaled in reversed(memory.changes):
            if group[key] is scaled:
                group[key] = original
        memory.changes.clear()


def _is_decoupled(optimizer: Optimizer, group: Group) -> bool:
    """Whether the group's weights shrink by lr * weight_decay, apart from the gradient."""
    by_rule = type(optimizer).__name__ in {"AdamW", "Adafactor", "Muon"}
    return bool(group.get("weight_decay", 0) and (by_rule or group.get("decoupled_weight_decay")))
