"""Parameters that keep their precision when the model is cast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from torch import Tensor, nn


class Precise(nn.Module):
    """A module whose own parameters follow device moves and casts to more precision, never to less.

    Angles and frequencies multiply positions: in bfloat16 position 1503 becomes 1504, and the angle is wrong
    by a radian.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def keep_precision(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if tensor.is_floating_point() and moved.dtype.itemsize < tensor.dtype.itemsize:
                return tensor.to(moved.device)
            return moved

        super()._apply(keep_precision, recurse)  # type: ignore[no-untyped-call]
        return self
