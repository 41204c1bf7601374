"""Numbers on their way from the device to the host, for whose arrival nobody waits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def on_host(tensor: Tensor) -> bool:
    """Whether the numbers of a tensor can be read without waiting for a device."""
    return tensor.is_cpu


class Landing:
    """A copy of a tensor that is made on the host while the run goes on.

    Args:
        numbers: what is copied, which nobody may change any more; or what is there already, as `tolist` returns it.
    """

    def __init__(self, numbers: Tensor | list[Any]) -> None:
        self._arrived: torch.cuda.Event | None = None
        self._host = numbers
        if isinstance(numbers, Tensor) and numbers.is_cuda:
            self._host = torch.empty(numbers.shape, dtype=numbers.dtype, device="cpu", pin_memory=True)
            self._host.copy_(numbers, non_blocking=True)
            self._arrived = torch.cuda.current_stream(numbers.device).record_event()

    def tolist(self) -> Any:
        """Return the numbers; those that were sent long ago are there without waiting."""
        if self._arrived is not None:
            self._arrived.synchronize()
            self._arrived = None
        return self._host.tolist() if isinstance(self._host, Tensor) else self._host
