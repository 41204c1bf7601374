"""The limit on how far one step may move a tensor, enforced in that step."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any, ClassVar, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from homeostat.actuators.limit import LimitActuator
from homeostat.actuators.sizes import Drift, Sizes
from homeostat.errors import AttachError
from homeostat.norms import at_hand, each_norm, local, part_of
from homeostat.plant import Plant, estimates_rate


class _Coming(NamedTuple):
    """What is known of a group's coming update: rms(update) <= rate + decay * rms(weight); rate may be infinite."""

    moving: list[Tensor]
    sizes: Sizes
    rate: float
    decay: float

    def beyond(self, limit: float, floor: float) -> list[Tensor]:
        """Return the tensors whose update cannot be told to stay within `limit`."""
        if self.rate == math.inf:
            return self.moving
        known, since = self.sizes.known, self.sizes.since
        least, greatest = self.sizes.span
        # One comparison for the group, where it is enough: a large model has thousands of tensors.
        if self._bound(since.most(greatest)) <= limit * max(since.least(least), floor) and self.sizes.knows(
            self.moving
        ):
            return []
        return [p for p in self.moving if not self._within(known.get(p), since, limit, floor)]

    def _within(self, size: float | None, since: Drift, limit: float, floor: float) -> bool:
        if size is None:
            return False
        return self._bound(since.most(size)) <= limit * max(since.least(size), floor)

    def _bound(self, size: float) -> float:
        return self.rate + self.decay * size


class _Memory:
    """The knob, what is known of each group, and the tensors copied for the step under way.

    Attributes:
        alarm: steps for which the limit acts yet, where it waits to be tripped; on the device.
        watch: as much, or more, on the host, which must not wait to know.
    """

    def __init__(self, value: float, device: torch.device) -> None:
        self.value = value
        self.sizes: defaultdict[tuple[int, int], Sizes] = defaultdict(Sizes)
        self.tensors: list[Tensor] = []
        self.shards: list[Tensor] = []
        self.before: list[Tensor] = []
        self.roots = torch.zeros(0)
        self.matrices = torch.zeros(0, dtype=torch.bool)
        self.watch = 0
        self.alarm = torch.zeros((), device=device)

    def copy(self, tensors: list[Tensor]) -> None:
        shards = [local(t) for t in tensors]
        alike = [(t.shape, t.dtype, t.device) for t in shards] == [(t.shape, t.dtype, t.device) for t in self.before]
        if not alike:
            # Kept, since the same tensors are suspects for many steps.
            self.before = [torch.empty_like(t) for t in shards]
            self.roots = torch.tensor([math.sqrt(t.numel()) for t in tensors], device=shards[0].device)
            self.matrices = torch.tensor([t.ndim >= 2 for t in tensors], device=shards[0].device)
        self.tensors, self.shards = tensors, shards
        torch._foreach_copy_(self.before, shards)

    def norms(self, shards: list[Tensor]) -> Tensor:
        """Return the norms of tensors laid out like those that were copied."""
        return each_norm([part_of(shard, tensor) for shard, tensor in zip(shards, self.tensors, strict=True)])


class UpdateLimit(LimitActuator):
    """Cuts the update of any tensor, vectors included, back to rms(update) <= limit * max(rms(weight), floor).

    It acts within the step that would exceed, where feedback is one step too late, and it does nothing where no
    tensor can exceed. Adam and AdamW tell beforehand: their update, decay apart, has rms(update) <= lr * `bound`,
    so only tensors for which lr * (bound + weight_decay * rms(weight)) exceeds the limit are copied before
    the step and cut after it. Under another rule every tensor is. At `high` the limit is open. A non-finite update
    stays non-finite: undoing it is a guard's work.

    Optimizers that keep weights in their state (Schedule-Free) or estimate their own rate (Prodigy) are refused:
    they would undo the cut. Limit their learning rate instead. The same holds, unseen, for optimizers that keep
    a master copy in higher precision.

    Attributes:
        floor: least size a weight counts with, without which a tensor that starts at zero could never move.
        trip: wait, and let everything pass, until a step would move a matrix by more than this share of its size:
            then cut that step and those after it, until `calm` steps in a row have needed no cut. None does not wait.
        calm: see `trip`.
        bound: greatest rms(update) / lr taken for possible under Adam. The default is the most that ordinary training
            shows; the limit may then be exceeded, after a sudden growth of all gradients, by at most h / `bound`
            with h what no sequence of gradients can exceed, (1 - b1) / sqrt((1 - b2) (1 - b1^2 / b2)), 7.3 at the
            default betas. None takes h itself: the limit then holds always, and nearly every step is copied.

    Raises:
        AttachError: the optimizer would undo the cut.
        pydantic.ValidationError: it would trip within the limit.
    """

    high: float = 10.0
    floor: float = Field(default=1e-3, gt=0)
    trip: float | None = Field(default=None, gt=0)
    calm: int = Field(default=20, ge=1)
    bound: float | None = Field(default=1.0, gt=0)

    # After the learning rate is set, and before anything else touches the weights again.
    order: ClassVar[int] = 20

    @model_validator(mode="after")
    def _check_trip(self) -> Self:
        if self.trip is not None and self.trip <= self.first:
            msg = (
                f"UpdateLimit.trip must be above start; got {self.trip:g} with a limit of {self.first:g}. "
                "Give a start below it, or leave trip out to limit every step."
            )
            raise ValueError(msg)
        return self

    def init(self, plant: Plant) -> _Memory:
        """Check the optimizers; the knob begins at `start`."""
        for optimizer in plant.optimizers:
            name = type(optimizer).__name__
            if hasattr(optimizer, "eval") or any(map(estimates_rate, optimizer.param_groups)):
                msg = (
                    f"UpdateLimit must have an optimizer that keeps no weights in its state; got {name}, which would "
                    "undo the cut. Limit its learning rate, or use AdamW."
                )
                raise AttachError(msg)
        return _Memory(self.first, plant.device)

    def targets(self, plant: Plant) -> frozenset[str]:
        """Name the update."""
        del plant
        return frozenset({"update"})

    def before_step(self, plant: Plant, memory: _Memory) -> None:
        """Copy the tensors that might exceed the limit."""
        memory.tensors = []
        if self.is_open(memory.value):
            memory.before = []
            memory.sizes.clear()
            return
        coming = [
            self._coming(plant.optimizers[place[0]], group, memory.sizes[place])
            for place, group in zip(plant.places(), plant.groups, strict=True)
            if plant.optimizers[place[0]] in plant.stepping
        ]
        waits = self.trip is not None and not memory.watch and not any(self._may_trip(each) for each in coming)
        suspects = [] if waits else [p for each in coming for p in each.beyond(memory.value, self.floor)]
        for each in coming:
            each.sizes.step(memory.value if self.trip is None else math.inf, each.rate, each.decay)
        if suspects:
            memory.watch = self.calm
            memory.copy([p.detach() for p in suspects])
        elif memory.watch:
            memory.watch -= 1
            memory.alarm = (memory.alarm - 1).clamp(min=0)

    def after_step(self, plant: Plant, memory: _Memory) -> None:
        """Cut what exceeds it."""
        del plant
        if not memory.tensors:
            return
        moved = memory.norms(list(torch._foreach_sub(memory.shards, memory.before)))
        sizes = torch.maximum(memory.norms(memory.before), self.floor * memory.roots)
        allowed = memory.value * sizes
        within = (moved <= allowed) | ~moved.isfinite()
        if self.trip is not None:
            tripped = ((moved > self.trip * sizes) & memory.matrices).any() | ((memory.alarm > 0) & ~within.all())
            memory.alarm = torch.where(tripped, float(self.calm), (memory.alarm - 1).clamp(min=0))
            asleep = memory.alarm == 0
            within = within | asleep
            if at_hand(asleep) == [True]:
                memory.watch = 0
        share = torch.where(within, 1.0, allowed / moved)
        known = at_hand(within) or [False] * len(memory.shards)
        rows = [row for row, fine in enumerate(known) if not fine]
        _interpolate(memory.shards, memory.before, share, rows)
        memory.tensors, memory.shards = [], []

    def save(self, plant: Plant, memory: _Memory) -> list[Any]:
        """Return whether it has been tripped, and the bounds on the sizes by optimizer, group and place in it."""
        sizes = [[place, size.save(_group(plant, place)["params"])] for place, size in memory.sizes.items()]
        return [memory.watch, memory.alarm.item(), sizes]

    def load(self, plant: Plant, memory: _Memory, saved: list[Any]) -> None:
        """Continue from them."""
        memory.watch, alarm, sizes = saved
        memory.alarm = torch.tensor(alarm, device=plant.device)
        memory.sizes.clear()
        for (optimizer, number), size in sizes:
            memory.sizes[optimizer, number].load(_group(plant, (optimizer, number))["params"], size)

    def _coming(self, optimizer: Optimizer, group: dict[str, Any], sizes: Sizes) -> _Coming:
        """Return what is known beforehand of a group's update."""
        moving = [p for p in group["params"] if p.grad is not None and p.numel()]
        rate = self._rate(optimizer, group)
        if rate < math.inf and moving:
            sizes.refresh(moving)
        # Coupled decay is part of the gradient, which the rule normalises.
        decay = group["lr"] * group["weight_decay"] if group.get("decoupled_weight_decay") else 0.0
        return _Coming(moving, sizes, rate, decay)

    def _may_trip(self, coming: _Coming) -> bool:
        return self.trip is not None and any(p.ndim >= 2 for p in coming.beyond(self.trip, self.floor))

    def _rate(self, optimizer: Optimizer, group: dict[str, Any]) -> float:
        """Return the greatest rms(update) of the rule, decay apart; infinite where nothing is known."""
        if type(optimizer) not in {Adam, AdamW} or isinstance(group["lr"], Tensor):
            return math.inf
        return float(group["lr"] * (adam_bound(*group["betas"]) if self.bound is None else self.bound))


def _group(plant: Plant, place: tuple[int, int]) -> dict[str, Any]:
    optimizer, number = place
    return plant.optimizers[optimizer].param_groups[number]


def _interpolate(tensors: list[Tensor], before: list[Tensor], share: Tensor, rows: list[int]) -> None:
    """Set each tensor to before + share * (tensor - before); a share of 1 leaves it bit-identical."""
    if not rows:
        return
    ends, starts = [tensors[row] for row in rows], [before[row] for row in rows]
    # Started from the old weights: of a huge update, little would be left of them after subtracting it again.
    torch._foreach_lerp_(starts, ends, [share[row].to(end.dtype) for row, end in zip(rows, ends, strict=True)])
    torch._foreach_copy_(ends, starts)


def adam_bound(beta1: float, beta2: float) -> float:
    """Return the greatest |m| / sqrt(v), bias corrected, that any gradients can bring about; infinite if none is.

    By Cauchy and Schwarz, |m|^2 <= v (1 - b1)^2 / ((1 - b2) (1 - b1^2 / b2)); the first step has |m| = sqrt(v).
    """
    if beta1 * beta1 >= beta2:
        return math.inf
    return max(1.0, (1 - beta1) / math.sqrt((1 - beta2) * (1 - beta1 * beta1 / beta2)))
