"""Numbers on their way from the device to the host, for whose arrival nobody waits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Landing:
    """A copy of a tensor that is made on the host while the run goes on.

    Args:
        tensor: what is copied; nobody may change it any more.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._arrived: torch.cuda.Event | None = None
        self._host = tensor
        if tensor.is_cuda:
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            self._arrived = torch.cuda.current_stream(tensor.device).record_event()

    def tolist(self) -> Any:
        """Return the numbers; those that were sent long ago are there without waiting."""
        if self._arrived is not None:
            self._arrived.synchronize()
            self._arrived = None
        return self._host.tolist()
