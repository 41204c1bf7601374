"""Whether tensors are finite, found out without waiting for their device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch import distributed as dist

from homeostat.norms import each_norm, local

_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128}


class Damage:
    """Whether an element of some tensors was not finite when this was made, on any rank.

    Args:
        tensors: what must be finite; of a `DTensor`, this rank's shard.
        device: of the run; tensors that are elsewhere are not looked at.
        group: ranks that are to say the same, None for one process.
    """

    def __init__(self, tensors: Sequence[Tensor], device: torch.device, group: dist.ProcessGroup | None) -> None:
        self._flag = _not_finite(tensors, device)
        self._joined = None
        self._landed: torch.cuda.Event | None = None
        if group is not None:
            self._joined = dist.all_reduce(self._flag, dist.ReduceOp.MAX, group, async_op=True)
        if device.type == "cuda" and (group is None or dist.get_backend(group) == "nccl"):
            self._leave(device)

    def found(self) -> bool:
        """Whether there was one; what was asked for some ticks ago has arrived by now."""
        if self._joined is not None:
            self._joined.wait()
        if self._landed is not None:
            self._landed.synchronize()
        return bool(self._flag.item())

    def _leave(self, device: torch.device) -> None:
        """Start to bring the flag to the host: asked for later, it would come behind all that the device has to do."""
        if self._joined is not None:
            # Of these ranks only the device waits.
            self._joined.wait()
            self._joined = None
        host = torch.empty_like(self._flag, device="cpu", pin_memory=True)
        host.copy_(self._flag, non_blocking=True)
        self._landed = torch.cuda.current_stream(device).record_event()
        self._flag = host


def _not_finite(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """Return 1 where an element is not finite, else 0; shape (), on `device`.

    An element above 1e19 counts as not finite, since the square of its size is not: what holds it is as lost.
    """
    # A count of steps on the host is as finite as the moments on the device.
    kind = device.type
    found = [t for t in tensors if t.dtype in _FLOATS and t.device.type == kind]
    if not found:
        return torch.zeros((), device=device)
    with torch.no_grad():
        return (~each_norm([local(t) for t in found]).isfinite().all()).to(device, torch.float32)
