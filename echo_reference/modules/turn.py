"""The rotary step on queries and keys, in one pass over both."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from echo_reference.modules.shape import split


def factors(angles: Tensor) -> Tensor:
    """The complex numbers (L, T, 1, G, 1, P) by which angles (L, G, T, P) of L layers turn."""
    return torch.polar(torch.ones_like(angles), angles).transpose(1, 2)[:, :, None, :, None]


def turn(qkv_BT3HD: Tensor, angles: Tensor, factor: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Turn each plane (2 p, 2 p + 1) of queries and keys by its angle; returns both and the values as (B, H, T, D).

    y_2p = x_2p cos a - x_(2p+1) sin a,  y_(2p+1) = x_(2p+1) cos a + x_2p sin a

    Args:
        qkv_BT3HD: queries, keys and values of a joint projection.
        angles: one set of angles for each of G consecutive groups of heads, (G, T, D / 2).
        factor: their `factors`, where no gradient is wanted and they were made for all layers at once.
    """
    if torch.compiler.is_compiling():  # a compiler fuses the plain formula, and cannot see into the other
        turned = (*_rotate(qkv_BT3HD[:, :, :2], angles).unbind(2), qkv_BT3HD[:, :, 2])
        q, k, v = (x.transpose(1, 2) for x in turned)
    elif not torch.is_grad_enabled():
        q, k = (x.transpose(1, 2) for x in _rotate(qkv_BT3HD[:, :, :2], angles, factor=factor).unbind(2))
        v = qkv_BT3HD[:, :, 2].transpose(1, 2)
    else:
        q, k, v = cast("tuple[Tensor, Tensor, Tensor]", _Turn.apply(qkv_BT3HD, angles))  # type: ignore[no-untyped-call]
    return q, k, v


def interleaved(matrix: Tensor) -> Tensor:
    """Bring the columns of planes (p, p + P) side by side, as `turn` wants them."""
    return split(matrix, matrix.ndim - 1, 2).mT.flatten(-2)


class _Turn(torch.autograd.Function):
    """Multiplies complex numbers in the layout of the projection; autograd's own chain moves four times the memory."""

    @staticmethod
    def forward(ctx: Any, qkv_BT3HD: Tensor, angles: Tensor) -> tuple[Tensor, ...]:
        q, k = (x.transpose(1, 2) for x in _rotate(qkv_BT3HD[:, :, :2], angles).unbind(2))
        ctx.save_for_backward(q, k, angles)
        return q, k, qkv_BT3HD[:, :, 2].transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None]:
        *turned, angles = ctx.saved_tensors
        joint = torch.stack([grad.transpose(1, 2) for grad in grads], 2)
        given = joint[:, :, :2]
        grad_angles = _angle_gradient(turned, given, len(angles)) if ctx.needs_input_grad[1] else None
        if torch.is_grad_enabled():  # somebody differentiates twice, which in-place steps do not allow
            joint = torch.cat((_rotate(given, -angles), joint[:, :, 2:]), 2)
        else:
            _rotate(given, -angles, given)
        return joint, grad_angles


def _rotate(x_BTNHD: Tensor, angles: Tensor, out: Tensor | None = None, factor: Tensor | None = None) -> Tensor:
    if torch.compiler.is_compiling() or x_BTNHD.dtype not in (torch.float32, torch.float64):
        grouped = angles.transpose(0, 1)[:, None, :, None]
        cos, sin = grouped.cos().to(x_BTNHD.dtype), grouped.sin().to(x_BTNHD.dtype)
        first, second = _pairs(split(x_BTNHD, 3, len(angles))).unbind(-1)
        turned = torch.stack((first * cos - second * sin, second * cos + first * sin), -1).view(x_BTNHD.shape)
        return turned if out is None else out.copy_(turned)
    planes = _planes(x_BTNHD, len(angles))
    if factor is None:
        factor = factors(angles[None])[0]
    turned = torch.mul(planes, factor.to(planes.dtype), out=None if out is None else _planes(out, len(angles)))
    return torch.view_as_real(turned).view(x_BTNHD.shape)


def _pairs(x: Tensor) -> Tensor:
    return split(x, x.ndim - 1, x.shape[-1] // 2)


def _planes(x: Tensor, groups: int) -> Tensor:
    """The planes of (..., H, D) as complex numbers (..., G, H / G, P)."""
    return torch.view_as_complex(_pairs(split(x, x.ndim - 2, groups)))


def _angle_gradient(turned: list[Tensor], given_BT2HD: Tensor, groups: int) -> Tensor:
    # Of the results alone: dy / d(angle) = i y, so that the gradient is the imaginary part of g conj(y).
    dtype = torch.promote_types(given_BT2HD.dtype, torch.float32)
    total = []
    for y_BHTD, grad in zip(turned, given_BT2HD.unbind(2), strict=True):
        # A conjugate that is not lazy and sums over one dimension at a time take a third of the time.
        conjugate = _planes(y_BHTD.transpose(1, 2).to(dtype), groups).conj().resolve_conj()
        total.append((conjugate * _planes(grad.to(dtype), groups)).sum(3).sum(0))
    return (total[0] + total[1]).imag.transpose(0, 1)
