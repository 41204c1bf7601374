"""The limit on how far one step may move a tensor, enforced in that step."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from homeostat.actuators.limit import LimitActuator
from homeostat.errors import AttachError
from homeostat.norms import each_norm
from homeostat.plant import Plant

REFRESH = 10


class _Sent(NamedTuple):
    """Norms on their way to the host."""

    tensors: list[Tensor]
    norms: Tensor
    arrived: torch.cuda.Event | None


class _Sizes:
    """Bounds on the rms of every tensor, on the host, without waiting for the device.

    Every `REFRESH` steps the norms are sent on their way, and taken in at the next occasion, when they have long
    arrived. Since then each limited step has moved a tensor by a known share at most.

    Attributes:
        known: the rms when it was sent.
        shrunk: share of it that must be left since then; its inverse bounds growth.
    """

    def __init__(self) -> None:
        self.known: dict[Tensor, float] = {}
        self.shrunk = 1.0
        self._sent: _Sent | None = None
        self._shrunk_since_sent = 1.0
        self._steps = 0

    def refresh(self, tensors: list[Tensor]) -> None:
        """Take in what was sent, and send anew, if it is time."""
        self._steps += 1
        if self._steps % REFRESH != 1:
            return
        if self._sent is not None:
            if self._sent.arrived is not None:
                self._sent.arrived.synchronize()
            pairs = zip(self._sent.tensors, self._sent.norms.tolist(), strict=True)
            self.known = {t: norm / math.sqrt(max(t.numel(), 1)) for t, norm in pairs}
            self.shrunk = self._shrunk_since_sent
        self._sent = _send(tensors)
        self._shrunk_since_sent = 1.0

    def step(self, limit: float) -> None:
        """Account for a step that is limited to `limit`."""
        left = max(0.0, 1.0 - limit)
        self.shrunk *= left
        self._shrunk_since_sent *= left


def _send(tensors: list[Tensor]) -> _Sent:
    norms = each_norm(tensors)
    if not norms.is_cuda:
        return _Sent(tensors, norms.to("cpu"), None)
    host = torch.empty(norms.shape, dtype=norms.dtype, pin_memory=True)
    host.copy_(norms, non_blocking=True)
    arrived = torch.cuda.current_stream(norms.device).record_event()
    return _Sent(tensors, host, arrived)


class _Memory:
    """The knob, the last known sizes, and the tensors copied for the step under way."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.sizes = _Sizes()
        self.tensors: list[Tensor] = []
        self.before: list[Tensor] = []
        self.roots = torch.zeros(0)
        self._counts: list[int] = []

    def copy(self, tensors: list[Tensor]) -> None:
        self.tensors, self.before = tensors, [torch.empty_like(t) for t in tensors]
        torch._foreach_copy_(self.before, tensors)
        counts = [t.numel() for t in tensors]
        if counts != self._counts:
            # Kept on the device: the same tensors are suspects for many steps.
            self._counts = counts
            self.roots = torch.tensor([math.sqrt(n) for n in counts], device=tensors[0].device)


class UpdateLimit(LimitActuator):
    """Cuts the update of any tensor, vectors included, back to rms(update) <= limit * max(rms(weight), floor).

    It acts within the step that would exceed, where feedback is one step too late, and it does nothing where no
    tensor can exceed. Adam and AdamW tell beforehand: their update, decay apart, has rms(update) <= lr * `bound`,
    so only tensors for which lr * (bound + weight_decay * rms(weight)) exceeds the limit are copied before
    the step and cut after it. Under another rule every tensor is. At `high` the limit is open. A non-finite update
    is left as it is: undoing it is a guard's work.

    Optimizers that keep weights in their state (Schedule-Free) or estimate their own rate (Prodigy) are refused:
    they would undo the cut. Limit their learning rate instead. The same holds, unseen, for optimizers that keep
    a master copy in higher precision.

    Attributes:
        floor: least size a weight counts with, without which a tensor that starts at zero could never move.
        bound: greatest rms(update) / lr taken for possible under Adam; None for what no sequence of gradients can
            exceed, (1 - b1) / sqrt((1 - b2) (1 - b1^2 / b2)), 7.3 at the default betas. In ordinary training it
            does not exceed 1.0, and a smaller bound copies less.

    Raises:
        AttachError: the optimizer would undo the cut.
    """

    high: float = 10.0
    floor: float = Field(default=1e-3, gt=0)
    bound: float | None = Field(default=None, gt=0)

    # After the learning rate is set, and before anything else touches the weights again.
    order: ClassVar[int] = 20

    def init(self, plant: Plant) -> _Memory:
        """Check the optimizers; the knob begins at `start`."""
        for optimizer in plant.optimizers:
            name = type(optimizer).__name__
            if hasattr(optimizer, "eval") or any("d" in group for group in optimizer.param_groups):
                msg = (
                    f"UpdateLimit must have an optimizer that keeps no weights in its state; got {name}, which would "
                    "undo the cut. Limit its learning rate, or use AdamW."
                )
                raise AttachError(msg)
        return _Memory(self.first)

    def targets(self, plant: Plant) -> frozenset[str]:
        """Name the update."""
        del plant
        return frozenset({"update"})

    def before_step(self, plant: Plant, memory: _Memory) -> None:
        """Copy the tensors that might exceed the limit."""
        memory.tensors = []
        if self.is_open(memory.value):
            return
        moving = [p for p in plant.parameters() if p.grad is not None and p.numel()]
        if not moving:
            return
        memory.sizes.refresh(moving)
        suspects = self._suspects(plant, memory.sizes, memory.value)
        memory.sizes.step(memory.value)
        if suspects:
            memory.copy([p.detach() for p in suspects])

    def after_step(self, plant: Plant, memory: _Memory) -> None:
        """Cut what exceeds it."""
        del plant
        tensors, memory.tensors = memory.tensors, []
        if not tensors:
            return
        updates = torch._foreach_sub(tensors, memory.before)
        moved = each_norm(updates)
        allowed = memory.value * torch.maximum(each_norm(memory.before), self.floor * memory.roots)
        excess = torch.where((moved > allowed) & moved.isfinite(), 1.0 - allowed / moved, 0.0)
        torch._foreach_mul_(updates, [e.to(u.dtype) for e, u in zip(excess.unbind(), updates, strict=True)])
        # Taking away nothing leaves a tensor bit-identical.
        torch._foreach_sub_(tensors, updates)
        memory.before = []

    def _suspects(self, plant: Plant, sizes: _Sizes, limit: float) -> list[Tensor]:
        """Return the tensors whose coming update cannot be told to stay within `limit`."""
        found: list[Tensor] = []
        for optimizer in plant.optimizers:
            for group in optimizer.param_groups:
                moving = [p for p in group["params"] if p.grad is not None and p.numel()]
                per_rate = self._per_rate(optimizer, group)
                for p in moving:
                    size = sizes.known.get(p)
                    if size is None or not self._within(group, per_rate, size, sizes.shrunk, limit):
                        found.append(p)
        return found

    def _per_rate(self, optimizer: Optimizer, group: dict[str, Any]) -> float:
        """Return the greatest rms(update) / lr of the rule, decay apart; infinite where nothing is known."""
        if type(optimizer) not in {Adam, AdamW} or isinstance(group["lr"], Tensor):
            return math.inf
        return adam_bound(*group["betas"]) if self.bound is None else self.bound

    def _within(self, group: dict[str, Any], per_rate: float, size: float, shrunk: float, limit: float) -> bool:
        if per_rate == math.inf or shrunk == 0.0:
            return False
        # Coupled decay is part of the gradient, which the rule normalises.
        decay = group["weight_decay"] if group.get("decoupled_weight_decay") else 0.0
        reach = group["lr"] * (per_rate + decay * max(size, self.floor) / shrunk)
        return bool(reach <= limit * max(size * shrunk, self.floor))


def adam_bound(beta1: float, beta2: float) -> float:
    """Return the greatest |m| / sqrt(v), bias corrected, that any gradients can bring about; infinite if none is.

    By Cauchy and Schwarz, |m|^2 <= v (1 - b1)^2 / ((1 - b2) (1 - b1^2 / b2)); the first step has |m| = sqrt(v).
    """
    if beta1 * beta1 >= beta2:
        return math.inf
    return max(1.0, (1 - beta1) / math.sqrt((1 - beta2) * (1 - beta1 * beta1 / beta2)))
