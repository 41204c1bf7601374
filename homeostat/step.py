"""What kind of call of an optimizer this is: hooks see more than steps that change weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def has_closure(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the step computes loss and gradients itself; `args` begin with the optimizer."""
    return any(arg is not None for arg in args[1:]) or kwargs.get("closure") is not None


def is_initialising(optimizer: Optimizer) -> bool:
    """Whether this is `torch.distributed.checkpoint` creating optimizer state: no learning rate and no gradient.

    It sets rates on the host, so that a rate on another device, for which one would have to wait, is none of them.
    """
    for group in optimizer.param_groups:
        rate = group.get("lr", 0.0)
        if type(rate) is float and rate:
            return False
        if (isinstance(rate, Tensor) and rate.device.type != "cpu") or float(rate) != 0.0:
            return False
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return not any(bool(g.any()) for g in gradients)


def found_inf(optimizer: Optimizer) -> bool:
    """Whether `GradScaler` found this step's gradients not finite and the (fused) optimizer will skip it."""
    found: Tensor | None = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found.item())


def on_error(optimizer: Optimizer, settle: Callable[[], None]) -> Callable[[], None]:
    """Call `settle` as soon as a step of `optimizer` raises, of which its hooks do not hear; returns what ends that."""
    before = vars(optimizer).get("step")
    inner: Any = optimizer.step
    # A scheduler that is made later expects a method, unless one made before has put a plain function in its place.
    is_own = isinstance(inner, MethodType) and inner.__self__ is optimizer
    function = inner.__func__ if is_own else inner
    # Emptied at the end: where the function stays, it must not keep the controller alive.
    told = [settle]

    @wraps(function)
    def step(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException:
            for hear in told:
                hear()
            raise

    ours = MethodType(step, optimizer) if is_own else step

    def end() -> None:
        told.clear()
        # What has been put around it since stays, and this in it.
        if vars(optimizer).get("step") is ours:
            del optimizer.step
            if before is not None:
                optimizer.step = before  # type: ignore[method-assign]

    optimizer.step = ours  # type: ignore[method-assign]
    return end


def uncompiled(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Keep a hook out of a compiled optimizer step; the compiler's own wrapper, 5 us a call, is for that step alone."""
    apart: Callable[..., Any] = torch.compiler.disable(hook)  # type: ignore[no-untyped-call]

    def called(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return (apart if torch.compiler.is_compiling() else hook)(optimizer, args, kwargs)

    return called
