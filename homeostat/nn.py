"""Modules through which a model offers its knobs and lets itself be measured.

`Dial` is a knob, `Dropout` a module that reads one, `AttentionTap` a place where an observer may listen.
They are plain modules: a model built from them trains, saves and compiles without a controller.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from ctypes import c_float
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Dial(nn.Module):
    """A number that a controller may move while the model trains, and the forward pass reads.

    `dial()` gives the value as a 0-d tensor on the model's device (a copy, so that a later write cannot
    change what autograd saved); `dial.value` gives it as a Python float without a device round trip.

    The value keeps its own precision: `model.to(torch.bfloat16)` would turn a rotary base of 10000 into 9984,
    so casts are ignored and only device moves are followed. It is not saved with the weights: it belongs to
    the controller's state, and an old checkpoint or an averaged copy of the model stays loadable.

    A write between a forward pass and its backward pass does not reach what activation checkpointing computes again
    in the latter: that sees what the forward pass saw, until another forward pass has read the new value. (Within
    compiled code autograd refuses such a write in one sentence.)

    Args:
        value: where the dial starts, and where `reset` returns it to.
        low: least value that the module can make use of; an actuator's own limits are narrowed to it.
        high: greatest such value.
        integer: hold an int64 instead of a float32.
        quantum: for a dial that decides a shape; `quanta` is then the value in these, rounded up. A compiled model
            that reads `quanta`, and no `value`, is compiled anew only where it changes.

    Raises:
        ValueError: the value lies outside its range.
    """

    position: Tensor

    def __init__(
        self,
        value: float,
        *,
        low: float = -math.inf,
        high: float = math.inf,
        integer: bool = False,
        quantum: float | None = None,
    ) -> None:
        if not low <= value <= high:
            msg = f"A dial must start within [{low:g}, {high:g}]; got {value:g}. Start it inside, or widen its range."
            raise ValueError(msg)
        super().__init__()
        self.low, self.high = low, high
        self.initial = float(value)
        self.integer = integer
        self.watching = False
        self.reads = 0
        # Rounded from the start, so that writing the dial where it stands changes nothing.
        self._value = self._rounded(value)
        self.quantum = quantum
        self.quanta = self._count()
        # What the last forward pass saw, if the dial was moved since.
        self._seen: float | None = None
        self.register_buffer("position", self._tensor(torch.get_default_device()), persistent=False)

    def forward(self) -> Tensor:
        """Return the value as a 0-d tensor, detached from later writes."""
        if self.watching:
            self.reads += 1
        # Asked first: a compiler would guard whatever moves, and compile anew at each write.
        if torch.compiler.is_compiling() or self._now() == self._value:
            return self.position.clone()
        return torch.full_like(self.position, self._now())

    @property
    def value(self) -> float:
        """The value on the host; costs no synchronisation."""
        if self.watching:
            self.reads += 1
        return self._value if torch.compiler.is_compiling() else self._now()

    def _now(self) -> float:
        """Return what a forward pass is to see; one that is computed again, within a backward pass, what it saw."""
        if self._seen is not None and torch._C._current_graph_task_id() == -1:
            self._seen = None
        return self._value if self._seen is None else self._seen

    def peek(self) -> float:
        """Return the value without counting as a reader."""
        return self._value

    def set(self, value: float) -> float:
        """Move the dial; returns the value it really holds after rounding to its own type."""
        value = self._rounded(value)
        if self._seen is None:
            self._seen = self._value
        self._value = value
        self.quanta = self._count()
        self.position.fill_(value)
        return value

    def reset(self) -> None:
        """Return to the initial value, also after the buffer was materialised with arbitrary content."""
        self.set(self.initial)

    def _count(self) -> int:
        return 0 if self.quantum is None else math.ceil(self._value / self.quantum)

    def _rounded(self, value: float) -> float:
        # To float32 without a tensor, which a fake or a tracing mode would take for its own.
        return float(round(value)) if self.integer else c_float(value).value

    def _tensor(self, device: torch.device) -> Tensor:
        dtype = torch.int64 if self.integer else torch.float32
        return torch.full((), self._value, dtype=dtype, device=device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Dial:
        # Only the device of the result is taken: a cast must not round the value, and `to_empty` must not lose it.
        del recurse
        self.position = self._tensor(fn(self.position).device)
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Nobody would ever stop the count in a copy.
        return {**super().__getstate__(), "watching": False, "reads": 0, "_seen": None}  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        """Show the value in the model's printout."""
        return f"{self._value:g}"


class Dropout(nn.Module):
    """Dropout whose rate is a dial, so that moving it never recompiles a compiled model.

    y = x * Bernoulli(1 - p) / (1 - p) in training, the identity otherwise.

    Args:
        p: initial rate in [0, 1).
    """

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            msg = f"Dropout rate must lie in [0, 1); got {p}. Use a rate below 1."
            raise ValueError(msg)
        self.rate = Dial(p)

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements of `x` (any shape) at the dial's rate."""
        if not self.training:
            return x
        if torch.compiler.is_compiling():
            # A tensor rate keeps the value out of the compiler's guards.
            p = self.rate().to(x.dtype)
            kept: Tensor = x * (torch.rand_like(x) >= p) / (1 - p)
            return kept
        p_host = self.rate.value
        return F.dropout(x, p_host) if p_host > 0.0 else x


class AttentionCall(NamedTuple):
    """What one call of an attention looks at. Shapes: q (B, H, T, D); k (B, H, S, D); key_mask (B, S), True: valid."""

    q: Tensor
    k: Tensor
    scale: float
    causal: bool
    key_mask: Tensor | None


class AttentionTap(nn.Module):
    """A place in an attention module where an observer may listen to queries and keys.

    Call it with the tensors that enter the score product (after any rotary step). It does nothing unless a
    listener is set, and then only in training with gradients. Recomputation under checkpointing may call it once more;
    a listener that wants a step once takes the first call. A copy of the tap (of an averaged or saved model) has no
    listener.
    """

    def __init__(self) -> None:
        super().__init__()
        self.listener: Callable[[AttentionCall], None] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A listener holds the whole plant.
        return {**super().__getstate__(), "listener": None}  # type: ignore[no-untyped-call]

    def forward(
        self, q: Tensor, k: Tensor, *, scale: float, causal: bool = False, key_mask: Tensor | None = None
    ) -> None:
        """Offer one attention call to the listener, if there is one."""
        # Without gradients it is an evaluation, or checkpointing, which computes it again with them.
        if self.listener is not None and self.training and torch.is_grad_enabled():
            self.listener(AttentionCall(q.detach(), k.detach(), scale, causal, key_mask))


def dials(model: nn.Module) -> dict[str, Dial]:
    """List a model's dials by their qualified names."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Dial)}
