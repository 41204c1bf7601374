"""Two ways to compute one function: attention with scores by distance, over all keys or over blocks of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from echo_reference.modules.distance import distances, spread
from echo_reference.modules.shape import split

ScoreByDistance = Callable[[Tensor], Tensor]
"""Maps signed distances (R,) to scores (H, R)."""

QUANTUM = 16
"""Blocks are multiples of this long, so that a window which moves seldom changes a shape."""
# Finite, because a padded query whose whole window is padding would otherwise become NaN. Beside any real
# score its weight underflows to exactly 0.
_PADDED = -1e9
# Below this many positions one masked product is quicker than blocks, whatever the window.
_SHORTEST_BLOCKED = 192


def block_span(quanta: int, length: int) -> int | None:
    """The block length for a window of so many quanta, or None where one product over all keys serves better.

    The span is the least multiple of 16 not below the window, so that a query's own block and its two
    neighbours hold all it may see. span * 3 >= length leaves nothing to save.
    """
    span = QUANTUM * max(1, quanta)
    return None if length < _SHORTEST_BLOCKED or span * 3 >= length else span


def padding_score(key_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a key is valid, else so low that its weight vanishes."""
    low = max(_PADDED, torch.finfo(dtype).min / 2)
    return torch.zeros(key_mask.shape, dtype=dtype, device=key_mask.device).masked_fill(~key_mask, low)


class Heads(NamedTuple):
    """Queries, keys and values of some heads, each (B, H, T, D); the queries are scaled already."""

    q: Tensor
    k: Tensor
    v: Tensor

    def cut(self, first: int) -> tuple[Heads, Heads]:
        """The first heads and the others."""
        # A split, since the backward pass joins its parts; two slices would each fill the whole with zeros.
        near, far = zip(*(torch.split(x, [first, x.shape[1] - first], 1) for x in self), strict=True)
        return Heads(*near), Heads(*far)


def attend_global(heads: Heads, key_mask: Tensor | None) -> Tensor:
    """Attention over all valid keys, fused; `key_mask` (B, S) is True where a key is valid."""
    mask = None if key_mask is None else key_mask[:, None, None, :]
    # Rows of a joint projection lie so far apart that the fused kernel would take a quarter longer.
    q, k, v = (x.contiguous() for x in heads)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)


def attend_scored(
    heads: Heads, score: ScoreByDistance, key_mask: Tensor | None, first_query: int | Tensor = 0
) -> Tensor:
    """Attention over all keys with a score by distance added.

    Args:
        heads: keys at positions 0, 1, ... and queries at first_query, first_query + 1, ...
        score: added to the products.
        key_mask: (B, S), True where a key is valid.
        first_query: position of the first query.
    """
    queries, keys = heads.q.shape[2], heads.k.shape[2]
    added = spread(score(distances(queries, keys, first_query, heads.q.device)), keys)
    padding = None if key_mask is None else padding_score(key_mask, added.dtype)[:, None, None, :]
    return _weigh(*heads, added, padding)


def attend_blocked(heads: Heads, score: ScoreByDistance, key_mask: Tensor | None, span: int) -> Tensor:
    """The same function as `attend_scored`, at a cost linear in the length.

    Each block of `span` queries sees itself and its two neighbours; exact where `score` is -inf beyond `span`.
    """
    q = heads.q
    length = q.shape[2]
    blocks = -(-length // span)
    valid = torch.ones(1, length, dtype=torch.bool, device=q.device) if key_mask is None else key_mask
    valid = F.pad(valid, (span, (blocks + 1) * span - length)).unfold(1, 3 * span, span)
    added = spread(score(distances(span, 3 * span, span, q.device)), 3 * span)[:, None]
    padding = padding_score(valid, added.dtype)[:, None, :, None, :]
    queries = split(F.pad(q, (0, 0, 0, blocks * span - length)), 2, blocks)
    near_k, near_v = (_neighbourhoods(x, span, blocks) for x in heads[1:])
    return _weigh(queries, near_k, near_v, added, padding).flatten(2, 3)[:, :, :length]


def _neighbourhoods(x: Tensor, span: int, blocks: int) -> Tensor:
    """Each block of (B, H, T, D) with the one before and the one after, (B, H, blocks, 3 span, D), zeros outside."""
    if torch.compiler.is_compiling():
        return _gather(x, span, blocks)
    return cast("Tensor", _Neighbourhoods.apply(x, span, blocks))  # type: ignore[no-untyped-call]


def _gather(x: Tensor, span: int, blocks: int) -> Tensor:
    parts = split(F.pad(x, (0, 0, span, (blocks + 1) * span - x.shape[2])), 2, blocks + 2)
    return torch.cat((parts[:, :, :-2], parts[:, :, 1:-1], parts[:, :, 2:]), 3)


class _Neighbourhoods(torch.autograd.Function):
    """Adds up three parts on the way back; autograd's own way fills and copies the whole for every part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, span: int, blocks: int) -> Tensor:
        ctx.span, ctx.length = span, x.shape[2]
        return _gather(x, span, blocks)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        batch, heads, blocks, _, width = grad.shape
        padded = grad.new_zeros(batch, heads, blocks + 2, ctx.span, width)
        for i, part in enumerate(torch.split(grad, ctx.span, 3)):
            padded[:, :, i : i + blocks] += part
        return padded.flatten(2, 3)[:, :, ctx.span : ctx.span + ctx.length], None, None


def _weigh(q: Tensor, k: Tensor, v: Tensor, added: Tensor, padding: Tensor | None) -> Tensor:
    # Sums of scores are taken in the precision of `added`: half types would lose the window's edge. Added one after
    # the other, since their sum would be as large as the scores; in place, since nobody needs the products alone.
    scores = (q @ k.mT).to(added.dtype).add_(added)
    if padding is not None:
        scores = scores.add_(padding)
    return scores.softmax(-1).to(v.dtype) @ v
