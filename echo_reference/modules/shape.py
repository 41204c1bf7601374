"""A typed view of one dimension as two."""

from __future__ import annotations

from torch import Tensor


def split(x: Tensor, dim: int, parts: int) -> Tensor:
    """View dimension `dim` (not negative) as (parts, rest)."""
    shape = x.shape
    return x.reshape(*shape[:dim], parts, shape[dim] // parts, *shape[dim + 1 :])
