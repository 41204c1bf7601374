"""Dials of a model that `DistributedDataParallel` replicates."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from homeostat.nn import dials


def leave_dials_alone(model: nn.Module) -> list[Callable[[], None]]:
    """Take every dial off what `DistributedDataParallel` broadcasts before each forward pass; returns how to undo it.

    Every rank turns its dials alike, so that a broadcast only costs: 717 us instead of 92 us a pass (two processes,
    gloo). The list of what is left alone is read when the wrapper is made, which is before anybody attaches.
    """
    undo: list[Callable[[], None]] = []
    for wrapper in model.modules():
        if isinstance(wrapper, DistributedDataParallel):
            names = {f"{name}.position" if name else "position" for name in dials(wrapper.module)}
            new = names - wrapper.parameters_to_ignore
            _ignore(wrapper, wrapper.parameters_to_ignore | new)
            undo.append(partial(_stop_ignoring, wrapper, new))
    return undo


def _stop_ignoring(wrapper: DistributedDataParallel, names: set[str]) -> None:
    _ignore(wrapper, wrapper.parameters_to_ignore - names)


def _ignore(wrapper: DistributedDataParallel, names: set[str]) -> None:
    wrapper.parameters_to_ignore = names
    wrapper._assign_modules_buffers()  # type: ignore[no-untyped-call]
