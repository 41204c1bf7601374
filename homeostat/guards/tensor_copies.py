"""Copies of many tensors that are made again and again, without stopping the run whose tensors they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Copies(NamedTuple):
    """Copies of tensors, in their order, and what to wait for before they are read; None where they are there."""

    tensors: list[Tensor]
    made: torch.cuda.Event | None


class Copier:
    """Copies tensors to host memory, or to other memory of their device.

    From a CUDA device to the host it goes by way of a second copy on the device, made in the run's own stream: the run
    may change its tensors at once, while another stream carries that copy to pinned memory. The host waits for neither.

    Args:
        device: of the run.
        on_device: leave the copies on the device.
    """

    def __init__(self, device: torch.device, *, on_device: bool = False) -> None:
        self._on_device = on_device
        aside = device.type == "cuda" and not on_device
        self._side = torch.cuda.Stream(device) if aside else None  # type: ignore[no-untyped-call]
        self._staged: list[Tensor] = []
        self._made: torch.cuda.Event | None = None

    def copy(self, live: Sequence[Tensor], memory: Sequence[Tensor] = ()) -> Copies:
        """Copy `live`, into `memory` of earlier copies as far as it fits."""
        copies = self._memory(live, memory, on_device=self._on_device)
        if self._side is None:
            _copy(copies, live)
            return Copies(copies, None)
        run = torch.cuda.current_stream(self._side.device)
        if self._made is not None:
            run.wait_event(self._made)
        self._staged = self._memory(live, self._staged, on_device=True)
        _copy(self._staged, live)
        self._side.wait_stream(run)
        with torch.cuda.stream(self._side):
            _copy(copies, self._staged)
            self._made = self._side.record_event()
        for tensor in self._staged:
            if tensor.is_cuda:
                tensor.record_stream(self._side)
        return Copies(copies, self._made)

    def _memory(self, live: Sequence[Tensor], memory: Sequence[Tensor], *, on_device: bool) -> list[Tensor]:
        """Return room for `live`, taken from `memory` by shape: state that came later does not move the rest."""
        free: defaultdict[tuple[torch.Size, torch.dtype, torch.device], list[Tensor]] = defaultdict(list)
        for tensor in reversed(memory):
            free[tensor.shape, tensor.dtype, tensor.device].append(tensor)
        found = []
        for tensor in live:
            device = tensor.device if on_device else torch.device("cpu")
            left = free[tensor.shape, tensor.dtype, device]
            pinned = self._side is not None and device.type == "cpu"
            found.append(left.pop() if left else torch.empty_like(tensor, device=device, pin_memory=pinned))
        return found


def _copy(to: Sequence[Tensor], live: Sequence[Tensor]) -> None:
    if to:
        # Only a CUDA device puts what follows behind a copy that it still makes.
        with torch.no_grad():
            torch._foreach_copy_(list(to), list(live), non_blocking=any(tensor.is_cuda for tensor in live))
