"""The limit on how far one step may move a tensor, enforced in that step."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import product
from typing import Any, ClassVar, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from homeostat.actuators.limit import NEAR, LimitActuator
from homeostat.actuators.lots import Lots
from homeostat.actuators.sizes import Bounds, Rule, Sizes
from homeostat.errors import AttachError
from homeostat.norms import at_hand, each_norm, local, part_of
from homeostat.plant import Plant, estimates_rate

# Steps that are granted at once where the optimizer's rule cannot reach the limit in any of them, at the first of these
# shares of the learning rate at which it cannot; more where not even a tensor of no size could, thanks to the floor.
GRANTED = 50
GRANTED_TO_ANY = 1000
SHARES = (2.0, 1.2, 1.0)


class _Coming(NamedTuple):
    """A group's coming update."""

    group: dict[str, Any]
    moving: list[Tensor]
    bounds: Bounds
    sizes: Sizes

    @classmethod
    def of(cls, group: dict[str, Any], bounds: Bounds, sizes: Sizes) -> Self:
        """Look at a group: which tensors will move, and how large they are, as far as that is known."""
        trained = [p for p in group["params"] if p.requires_grad and p.numel()]
        sizes.end_grant()
        if bounds.rate < math.inf and trained:
            sizes.refresh(trained)
        return cls(group, [p for p in trained if p.grad is not None], bounds, sizes)

    def beyond(self, limit: float, floor: float) -> list[Tensor]:
        """Return the tensors whose update cannot be told to stay within `limit`."""
        if self.bounds.rate == math.inf:
            return self.moving
        sizes = self.sizes
        # One comparison for the group, where it is enough: a large model has thousands of tensors.
        if sizes.knows(self.moving) and sizes.since.keeps(*sizes.span, self.bounds, limit, floor):
            return []
        return [p for p in self.moving if not self._keeps(sizes.known.get(p), limit, floor)]

    def grant(self, limit: float, floor: float, cut: float) -> None:
        """Grant steps if even as many cannot reach `limit`, each cut to `cut`; with room for the rate to rise."""
        sizes = self.sizes
        if self.bounds.rate == math.inf or not sizes.known or not sizes.knows(self.moving):
            return
        least, greatest = sizes.span
        for share, (steps, size) in product(SHARES, ((GRANTED_TO_ANY, 0.0), (GRANTED, least))):
            bounds = self.bounds.at(share)
            if sizes.since.after(cut, bounds, steps).keeps(size, greatest, bounds, limit, floor):
                decay, betas = self.group["weight_decay"], tuple(self.group["betas"])
                sizes.grant(steps, cut, bounds, Rule(share * self.group["lr"], decay, betas, bounds.tensors))
                return

    def _keeps(self, size: float | None, limit: float, floor: float) -> bool:
        return size is not None and self.sizes.since.keeps(size, size, self.bounds, limit, floor)


class _Memory:
    """The knob, what is known of each group, and the tensors copied for the step under way.

    Attributes:
        alarm: steps for which the limit acts yet, where it waits to be tripped; on the device.
        watch: as much, or more, on the host, which must not wait to know.
    """

    def __init__(self, value: float, device: torch.device, *, is_open: bool) -> None:
        self.value, self.is_open = value, is_open
        self.sizes: defaultdict[tuple[int, int], Sizes] = defaultdict(Sizes)
        self.tensors: list[Tensor] = []
        self.shards: list[Tensor] = []
        self.before: list[Tensor] = []
        self.roots = torch.zeros(0, device=device)
        self.matrices = torch.zeros(0, dtype=torch.bool, device=device)
        self.watch = 0
        self.alarm = torch.zeros((), device=device)
        self.lots = Lots()

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

    So that most steps cost nothing, as many as `GRANTED` are let pass at once where no tensor could come to exceed the
    limit in any of them, if it can be, even at twice the rate; `GRANTED_TO_ANY` where that holds of a tensor of any
    size, thanks to the floor. With a `lot`, of the steps that nothing is known of only
    some are copied in quiet times.

    Attributes:
        floor: least size a weight counts with, without which a tensor that starts at zero could never move.
        trip: wait, and let everything pass, until a step would move a matrix by more than this share of its size:
            then cut that step and those after it, until `calm` steps in a row have needed no cut. None does not wait.
        calm: see `trip` and `lot`.
        bound: greatest rms(update) / lr taken for possible under Adam. The default is the most that ordinary training
            shows; the limit may then be exceeded, after a sudden growth of all gradients, by at most h / `bound`
            with h what no sequence of gradients can exceed, (1 - b1) / sqrt((1 - b2) (1 - b1^2 / b2)), 7.3 at the
            default betas. None takes h itself: the limit then holds always, and nearly every step is copied.

    Raises:
        AttachError: the optimizer would undo the cut, or has no rate.
        pydantic.ValidationError: it would trip within the limit.
    """

    high: float = 10.0
    floor: float = Field(default=1e-3, gt=0)
    trip: float | None = Field(default=None, gt=0)
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
        if any("lr" not in group for group in plant.groups):
            msg = "UpdateLimit must find a rate in every group; got one without 'lr'. Drop the loop."
            raise AttachError(msg)
        for optimizer in plant.optimizers:
            name = type(optimizer).__name__
            if hasattr(optimizer, "eval") or any(map(estimates_rate, optimizer.param_groups)):
                msg = (
                    f"UpdateLimit must have an optimizer that keeps no weights in its state; got {name}, which would "
                    "undo the cut. Limit its learning rate, or use AdamW."
                )
                raise AttachError(msg)
        return _Memory(self.first, plant.device, is_open=self.is_open(self.first))

    def targets(self, plant: Plant) -> frozenset[str]:
        """Name the update."""
        del plant
        return frozenset({"update"})

    def before_step(self, plant: Plant, memory: _Memory) -> None:
        """Copy the tensors that might exceed the limit."""
        if memory.tensors:
            memory.tensors = []
        if plant.faults != memory.lots.faults and memory.lots.hear(plant.faults):
            memory.sizes.clear()
        if memory.is_open:
            memory.before = []
            memory.sizes.clear()
            return
        cut = self._cut(memory)
        coming = []
        for i, optimizer in enumerate(plant.optimizers):
            if optimizer not in plant.stepping:
                continue
            for j, group in enumerate(optimizer.param_groups):
                sizes = memory.sizes[i, j]
                if not memory.watch and sizes.passes(cut, group):
                    continue
                bounds = self._bounds(optimizer, group)
                if memory.lots.due(plant.tick, self.lot, self.calm):
                    coming.append(_Coming.of(group, bounds, sizes))
                else:
                    sizes.end_grant()
                    sizes.step(cut, bounds)
        if coming:
            self._look(memory, coming)

    def after_step(self, plant: Plant, memory: _Memory) -> None:
        """Cut what exceeds it."""
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
        if self.lot > 1:
            memory.lots.note(plant.tick, self._is_near(memory, moved, sizes))
        share = torch.where(within, 1.0, allowed / moved)
        known = at_hand(within) or [False] * len(memory.shards)
        rows = [row for row, fine in enumerate(known) if not fine]
        _interpolate(memory.shards, memory.before, share, rows)
        memory.tensors, memory.shards = [], []

    def save(self, plant: Plant, memory: _Memory) -> list[Any]:
        """Return whether it has been tripped, which steps are inspected, and what is known of the sizes by place."""
        if memory.lots.hear(plant.faults):
            memory.sizes.clear()
        sizes = [[place, size.save(_group(plant, place)["params"])] for place, size in memory.sizes.items()]
        return [memory.watch, memory.alarm.item(), sizes, memory.lots.save()]

    def load(self, plant: Plant, memory: _Memory, saved: list[Any]) -> None:
        """Continue from them."""
        memory.watch, alarm, sizes, lots = saved
        memory.alarm = torch.tensor(alarm, device=plant.device)
        memory.lots.load(lots, plant.faults)
        memory.sizes.clear()
        for (optimizer, number), size in sizes:
            memory.sizes[optimizer, number].load(_group(plant, (optimizer, number))["params"], size)

    def _look(self, memory: _Memory, coming: list[_Coming]) -> None:
        """Copy the suspects among what is coming; where there are none, grant steps."""
        waits = self.trip is not None and not memory.watch and not any(self._may_trip(each) for each in coming)
        suspects = [] if waits else [p for each in coming for p in each.beyond(memory.value, self.floor)]
        cut = self._cut(memory)
        for each in coming:
            each.sizes.step(cut, each.bounds)
        if suspects:
            memory.watch = self.calm
            memory.copy([p.detach() for p in suspects])
        elif memory.watch:
            memory.watch -= 1
            memory.alarm = (memory.alarm - 1).clamp(min=0)
        else:
            for each in coming:
                each.grant(self.trip or memory.value, self.floor, cut)

    def _may_trip(self, coming: _Coming) -> bool:
        return self.trip is not None and any(p.ndim >= 2 for p in coming.beyond(self.trip, self.floor))

    def _cut(self, memory: _Memory) -> float:
        """Return what share of its size a step can take from a tensor; of waiting limits, all of it."""
        return memory.value if self.trip is None else 1.0

    def _is_near(self, memory: _Memory, moved: Tensor, sizes: Tensor) -> Tensor:
        if self.trip is None:
            return (~(moved <= NEAR * memory.value * sizes)).any()
        return (~(moved <= NEAR * self.trip * sizes) & memory.matrices).any() | (memory.alarm > 0)

    def _bounds(self, optimizer: Optimizer, group: dict[str, Any]) -> Bounds:
        """Return the greatest update of the rule; an infinite rate where nothing is known."""
        tensors = len(group["params"])
        if type(optimizer) not in {Adam, AdamW} or isinstance(group["lr"], Tensor):
            return Bounds(math.inf, 0.0, tensors)
        rate = group["lr"] * (adam_bound(*group["betas"]) if self.bound is None else self.bound)
        # Coupled decay is part of the gradient, which the rule normalises.
        decay = group["lr"] * group["weight_decay"] if group.get("decoupled_weight_decay") else 0.0
        return Bounds(float(rate), float(decay), tensors)


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
