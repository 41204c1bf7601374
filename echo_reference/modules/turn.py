"""The rotary step on queries and keys, in one pass over each."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from echo_reference.modules.shape import split


def turn(qk_BT2HD: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
    """Turn each plane (p, p + P) of queries and keys by its angle; returns both as (B, H, T, D), D = 2 P.

    y_p = x_p cos a - x_(p+P) sin a,  y_(p+P) = x_(p+P) cos a + x_p sin a

    Args:
        qk_BT2HD: queries and keys of a joint projection.
        angles: one set of angles for each of G consecutive groups of heads.
    """
    if torch.compiler.is_compiling():  # a compiler fuses the plain formula, and cannot see into the other
        cos, sin = _factors(angles, qk_BT2HD.dtype)
        q, k = (_plain(x, cos, sin).flatten(1, 2) for x in _heads_first(qk_BT2HD, len(angles)))
    else:
        q, k = cast("tuple[Tensor, Tensor]", _Turn.apply(qk_BT2HD, angles))  # type: ignore[no-untyped-call]
    return q, k


class _Turn(torch.autograd.Function):
    """Writes into the layout that batched products want; autograd's own chain moves four times the memory."""

    @staticmethod
    def forward(ctx: Any, qk_BT2HD: Tensor, angles: Tensor) -> tuple[Tensor, ...]:
        cos, sin = _factors(angles, qk_BT2HD.dtype)
        q, k = (_fast(x, cos, sin, None).flatten(1, 2) for x in _heads_first(qk_BT2HD, len(angles)))
        ctx.save_for_backward(q, k, angles)
        return q, k

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None]:
        q, k, angles = ctx.saved_tensors
        turned, given = ([split(x, 1, len(angles)) for x in pair] for pair in ((q, k), grads))
        cos, sin = _factors(angles, given[0].dtype)
        if torch.is_grad_enabled():  # somebody differentiates twice, which in-place steps do not allow
            both = torch.stack([_plain(grad, cos, -sin) for grad in given])
            grad_x = both.flatten(2, 3).permute(1, 3, 0, 2, 4)
        else:
            batch, groups, members, length, width = given[0].shape
            grad_x = given[0].new_empty(batch, length, 2, groups * members, width)
            for grad, out in zip(given, _heads_first(grad_x, groups), strict=True):
                _fast(grad, cos, -sin, out)
        return grad_x, _angle_gradient(turned, given).to(angles.dtype) if ctx.needs_input_grad[1] else None


def _factors(angles: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    grouped = angles[:, None]
    return grouped.cos().to(dtype), grouped.sin().to(dtype)


def _heads_first(qk_BT2HD: Tensor, groups: int) -> tuple[Tensor, ...]:
    return tuple(split(qk_BT2HD, 3, groups).permute(2, 0, 3, 4, 1, 5))


def _fast(x: Tensor, cos: Tensor, sin: Tensor, out: Tensor | None) -> Tensor:
    if out is None:
        out = x.new_empty(x.shape)
    (first, second), (low, high) = x.chunk(2, -1), out.chunk(2, -1)
    torch.mul(first, cos, out=low).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=high).addcmul_(first, sin)
    return out


def _plain(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


def _angle_gradient(turned: list[Tensor], grads: list[Tensor]) -> Tensor:
    # Of the results alone: d(y_1, y_2) / d(angle) = (-y_2, y_1).
    total = []
    for y, grad in zip(turned, grads, strict=True):
        (y_low, y_high), (g_low, g_high) = y.chunk(2, -1), grad.chunk(2, -1)
        total.append((g_high * y_low - g_low * y_high).sum((0, 2)))
    return torch.stack(total).sum(0)
