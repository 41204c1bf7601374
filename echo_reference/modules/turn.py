"""The rotary step on queries and keys, in one pass over both."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from echo_reference.modules.shape import split


def factors(angles: Tensor) -> Tensor:
    """The complex numbers (L, T, 1, G, 1, P) by which angles (L, G, T, P) of L layers turn."""
    return torch.polar(torch.ones_like(angles), angles).transpose(1, 2)[:, :, None, :, None]


def with_values(factor: Tensor) -> Tensor:
    """Numbers (L, T, 3, G, 1, P) for queries, keys and values, of which values stay, from `factors`."""
    return torch.cat((factor, factor, torch.ones_like(factor)), 2)


def turn(qkv_BT3HD: Tensor, angles: Tensor, factor: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Turn each plane (2 p, 2 p + 1) of queries and keys by its angle; returns both and the values as (B, H, T, D).

    y_2p = x_2p cos a - x_(2p+1) sin a,  y_(2p+1) = x_(2p+1) cos a + x_2p sin a

    Args:
        qkv_BT3HD: queries, keys and values of a joint projection.
        angles: one set of angles for each of G consecutive groups of heads, (G, T, D / 2).
        factor: their `factors`, where no gradient is wanted and they were made for all layers at once; for a single
            position they may be `with_values`.
    """
    if torch.compiler.is_compiling():  # a compiler fuses the plain formula, and cannot see into the other
        turned = (*_rotate(qkv_BT3HD[:, :, :2], angles).unbind(2), qkv_BT3HD[:, :, 2])
        q, k, v = (x.transpose(1, 2) for x in turned)
    elif factor is not None and factor.shape[1] == 3 and _exact(qkv_BT3HD):
        q, k, v = _turn_newest(qkv_BT3HD, factor)
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
        batch, length, _, heads, width = qkv_BT3HD.shape
        # Heads before positions in memory too, which is how products over positions want them.
        turned = qkv_BT3HD.new_empty(2, batch, heads, length, width)
        factor = factors(angles[None])[0]
        _rotate(qkv_BT3HD[:, :, :2], angles, turned.permute(1, 3, 0, 2, 4), factor)
        q, k = turned
        ctx.save_for_backward(q, k, angles, factor)
        return q, k, qkv_BT3HD[:, :, 2].transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None]:
        *turned, angles, factor = ctx.saved_tensors
        given = [grad.contiguous().transpose(1, 2)[:, :, None] for grad in grads]
        grad_angles = _angle_gradient(turned, given[:2], len(angles)) if ctx.needs_input_grad[1] else None
        if torch.is_grad_enabled():  # somebody differentiates twice, which writing into a part does not allow
            turned_back = [_rotate(grad, -angles) for grad in given[:2]]
            return torch.cat((*turned_back, given[2]), 2), grad_angles
        batch, length, _, heads, width = given[2].shape
        joint = given[2].new_empty(batch, length, 3, heads, width)
        back = -angles, factor.conj().resolve_conj()
        for i in range(2):
            _rotate(given[i], back[0], joint[:, :, i : i + 1], back[1])
        joint[:, :, 2:] = given[2]
        return joint, grad_angles


def _turn_newest(qkv_B13HD: Tensor, factor: Tensor) -> tuple[Tensor, ...]:
    # One position of one text or several: the values go along, since to part them costs more than to multiply by 1.
    batch, _, _, heads, width = qkv_B13HD.shape
    groups = factor.shape[2]
    planes = torch.view_as_complex(qkv_B13HD.reshape(batch, 3, groups, heads // groups, width // 2, 2))
    turned = torch.view_as_real(planes * factor.to(planes.dtype))
    return turned.view(batch, 3, heads, 1, width).unbind(1)


def _exact(x: Tensor) -> bool:
    """Whether there are complex numbers of its precision."""
    return x.dtype in (torch.float32, torch.float64)


def _rotate(x_BTNHD: Tensor, angles: Tensor, out: Tensor | None = None, factor: Tensor | None = None) -> Tensor:
    if torch.compiler.is_compiling() or not _exact(x_BTNHD):
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


def _angle_gradient(turned: list[Tensor], given: list[Tensor], groups: int) -> Tensor:
    # Of the results alone: dy / d(angle) = i y, so that the gradient is the imaginary part of g conj(y).
    dtype = torch.promote_types(given[0].dtype, torch.float32)
    total = []
    for y_BHTD, grad_BT1HD in zip(turned, given, strict=True):
        # A conjugate that is not lazy and sums over one dimension at a time take a third of the time.
        product = _planes(y_BHTD.transpose(1, 2).to(dtype), groups).conj().resolve_conj()
        product *= _planes(grad_BT1HD.squeeze(2).to(dtype), groups)
        total.append(product.sum(3).sum(0))
    return (total[0] + total[1]).imag.transpose(0, 1)
