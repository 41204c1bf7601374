"""Everything attention knows of distance: the relative bias, the window and causality."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RelativeBias(nn.Module):
    """A learned score per head and distance, zero beyond `max_rel_dist`.

    Args:
        heads: heads with a bias.
        max_rel_dist: largest distance with an entry; a causal table has max_rel_dist + 1, else twice that
            less one.
        causal: the key is never later than the query.
    """

    def __init__(self, heads: int, max_rel_dist: int, causal: bool) -> None:
        super().__init__()
        self.reach = max_rel_dist
        entries = max_rel_dist + 1 if causal else 2 * max_rel_dist + 1
        self.table = nn.Parameter(torch.empty(heads, entries))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start without a preference."""
        nn.init.zeros_(self.table)

    def forward(self, distance: Tensor) -> Tensor:
        """Bias at each signed distance (key minus query), shape (heads, R)."""
        entry = (distance + self.reach).clamp(0, self.table.shape[1] - 1)
        inside = distance.abs() <= self.reach
        return self.table.index_select(1, entry) * inside.to(self.table.dtype)


def window_score(distance: Tensor, window: Tensor) -> Tensor:
    """Score log clamp(window + 1 - |distance|, 0, 1): 0 inside, -inf outside, continuous in the window."""
    return (window + 1.0 - distance.abs()).clamp(0.0, 1.0).log()


def causal_score(distance: Tensor, dtype: torch.dtype) -> Tensor:
    """-inf for keys later than the query, else 0."""
    zero = torch.zeros(distance.shape, device=distance.device, dtype=dtype)
    return zero.masked_fill(distance > 0, -torch.inf)


def distances(queries: int, keys: int, first_query: int | Tensor, device: torch.device) -> Tensor:
    """The queries + keys - 1 signed distances between `keys` positions from 0 and `queries` from `first_query`."""
    return torch.arange(queries + keys - 1, device=device) - (queries - 1 + first_query)


def spread(row: Tensor, keys: int) -> Tensor:
    """Turn scores by distance into scores by (query, key), shape (H, R - keys + 1, keys)."""
    return row[:, None] if row.shape[-1] == keys else row.unfold(-1, keys, 1).flip(-2)
