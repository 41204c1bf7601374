"""The limit on how far one step may move a tensor, enforced in that step."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from homeostat.actuators.limit import LimitActuator
from homeostat.errors import AttachError
from homeostat.norms import at_hand, each_norm
from homeostat.plant import Plant

REFRESH = 10


class _Sent(NamedTuple):
    """Norms on their way to the host."""

    tensors: list[Tensor]
    norms: Tensor
    arrived: torch.cuda.Event | None


class _Sizes:
    """Bounds on the rms of every tensor of a group, on the host, without waiting for the device.

    Every `REFRESH` steps the norms are sent on their way, and taken in at the next occasion, when they have long
    arrived. What the steps since then can have changed is accounted for.

    Attributes:
        known: the rms when it was sent.
        since: bounds on what happened since then.
    """

    def __init__(self) -> None:
        self.known: dict[Tensor, float] = {}
        self.since = _Drift()
        self._sent: _Sent | None = None
        self._since_sent = _Drift()
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
            self.known = {t: norm / math.sqrt(t.numel()) for t, norm in pairs}
            self.since = self._since_sent
        self._sent = _send(tensors)
        self._since_sent = _Drift()

    def step(self, limit: float, rate: float, decay: float) -> None:
        """Account for a step limited to `limit` whose update is at most `rate` + `decay` * rms(weight)."""
        self.since = self.since.after(limit, rate, decay)
        self._since_sent = self._since_sent.after(limit, rate, decay)


class _Drift(NamedTuple):
    """Bounds on how steps changed rms(weight): at least by `cut`, or by `kept` and `travel`, whichever says more.

    Attributes:
        cut: product of 1 - limit.
        kept: product of 1 - decay.
        travel: sum of the updates, decay apart.
    """

    cut: float = 1.0
    kept: float = 1.0
    travel: float = 0.0

    def after(self, limit: float, rate: float, decay: float) -> _Drift:
        return _Drift(self.cut * max(0.0, 1 - limit), self.kept * max(0.0, 1 - decay), self.travel + rate)

    def least(self, size: float) -> float:
        return max(size * self.cut, size * self.kept - self.travel)

    def most(self, size: float) -> float:
        return size + self.travel


def _send(tensors: list[Tensor]) -> _Sent:
    norms = each_norm(tensors)
    if not norms.is_cuda:
        return _Sent(tensors, norms.to("cpu"), None)
    host = torch.empty(norms.shape, dtype=norms.dtype, pin_memory=True)
    host.copy_(norms, non_blocking=True)
    arrived = torch.cuda.current_stream(norms.device).record_event()
    return _Sent(tensors, host, arrived)


class _Memory:
    """The knob, what is known of each group, and the tensors copied for the step under way."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.sizes: defaultdict[tuple[int, int], _Sizes] = defaultdict(_Sizes)
        self.tensors: list[Tensor] = []
        self.before: list[Tensor] = []
        self.roots = torch.zeros(0)

    def copy(self, tensors: list[Tensor]) -> None:
        alike = [(t.shape, t.dtype, t.device) for t in tensors] == [(t.shape, t.dtype, t.device) for t in self.before]
        if not alike:
            # Kept, since the same tensors are suspects for many steps.
            self.before = [torch.empty_like(t) for t in tensors]
            self.roots = torch.tensor([math.sqrt(t.numel()) for t in tensors], device=tensors[0].device)
        self.tensors = tensors
        torch._foreach_copy_(self.before, tensors)


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
        bound: greatest rms(update) / lr taken for possible under Adam. The default is the most that ordinary training
            shows; the limit may then be exceeded, after a sudden growth of all gradients, by at most h / `bound`
            with h what no sequence of gradients can exceed, (1 - b1) / sqrt((1 - b2) (1 - b1^2 / b2)), 7.3 at the
            default betas. None takes h itself: the limit then holds always, and nearly every step is copied.

    Raises:
        AttachError: the optimizer would undo the cut.
    """

    high: float = 10.0
    floor: float = Field(default=1e-3, gt=0)
    bound: float | None = Field(default=1.0, gt=0)

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
            memory.before = []
            memory.sizes.clear()
            return
        suspects: list[Tensor] = []
        for place, group in zip(plant.places(), plant.groups, strict=True):
            optimizer = plant.optimizers[place[0]]
            if optimizer in plant.stepping:
                suspects += self._suspects(optimizer, group, memory.sizes[place], memory.value)
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
        within = (moved <= allowed) | ~moved.isfinite()
        share = torch.where(within, 1.0, allowed / moved)
        known = at_hand(within) or [False] * len(tensors)
        rows = [row for row, fine in enumerate(known) if not fine]
        _interpolate(tensors, memory.before, share, rows)

    def _suspects(self, optimizer: Optimizer, group: dict[str, Any], sizes: _Sizes, limit: float) -> list[Tensor]:
        """Return the tensors of a group whose coming update cannot be told to stay within `limit`."""
        moving = [p for p in group["params"] if p.grad is not None and p.numel()]
        rate = self._rate(optimizer, group)
        if rate == math.inf or not moving:
            return moving
        sizes.refresh(moving)
        # Coupled decay is part of the gradient, which the rule normalises.
        decay = group["lr"] * group["weight_decay"] if group.get("decoupled_weight_decay") else 0.0
        suspects = [p for p in moving if not self._within(sizes.known.get(p), sizes.since, rate, decay, limit)]
        sizes.step(limit, rate, decay)
        return suspects

    def _within(self, size: float | None, since: _Drift, rate: float, decay: float, limit: float) -> bool:
        if size is None:
            return False
        return rate + decay * since.most(size) <= limit * max(since.least(size), self.floor)

    def _rate(self, optimizer: Optimizer, group: dict[str, Any]) -> float:
        """Return the greatest rms(update) of the rule, decay apart; infinite where nothing is known."""
        if type(optimizer) not in {Adam, AdamW} or isinstance(group["lr"], Tensor):
            return math.inf
        return float(group["lr"] * (adam_bound(*group["betas"]) if self.bound is None else self.bound))


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
