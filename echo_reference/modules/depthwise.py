"""A depthwise convolution along time whose weights learn at the price of a small matrix product."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F


def depthwise(x_BTC: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Filter each feature of (B, T, C) along T by its own taps.

    Args:
        x_BTC: the input; zeros are taken to lie around it.
        weight: (C, 1, 1, K), K odd.
        bias: (C,).
    """
    if torch.compiler.is_compiling() or x_BTC.device.type != "cpu":
        return _convolve(x_BTC, weight, bias)
    return cast("Tensor", _Depthwise.apply(x_BTC, weight, bias))  # type: ignore[no-untyped-call]


class _Depthwise(torch.autograd.Function):
    """PyTorch's own backward pass spends on the taps ten times what the input's gradient costs."""

    @staticmethod
    def forward(ctx: Any, x_BTC: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x_BTC, weight)
        ctx.biased = bias is not None
        return _convolve(x_BTC, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad_BTC: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        x_BTC, weight = ctx.saved_tensors
        # A convolution with the taps in reverse; what autocast rounded on the way forward is rounded here.
        grad_x = _convolve(grad_BTC, weight.flip(-1).to(grad_BTC.dtype), None).to(x_BTC.dtype)
        taps = correlate(x_BTC.to(grad_BTC.dtype), grad_BTC, weight.shape[-1]).to(weight.dtype)
        return grad_x, taps.view(weight.shape), grad_BTC.sum((0, 1)).to(weight.dtype) if ctx.biased else None


def _convolve(x_BTC: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # Two-dimensional over a channels-last view: half the time of a one-dimensional one on a CPU.
    x_BC1T = x_BTC.transpose(1, 2).unsqueeze(2)
    y_BC1T = F.conv2d(x_BC1T, weight, bias, padding=(0, weight.shape[-1] // 2), groups=weight.shape[0])
    return y_BC1T.squeeze(2).transpose(1, 2)


def correlate(x_BTC: Tensor, y_BTC: Tensor, lags: int) -> Tensor:
    """Sums over b and t of x[b, t + lag, c] y[b, t, c], for the `lags` (odd) lags around 0; shape (C, lags).

    Time is cut into blocks of S >= lags. Products of a block of y with its own block of x and the next hold every lag
    on a diagonal, so that the sum over blocks is two matrix products a feature.
    """
    batch, length, features = x_BTC.shape
    size = -(-lags // 16) * 16
    blocks = -(-(length + lags - 1) // size)
    x = x_BTC.new_zeros(batch, features, blocks + 1, size)
    y = y_BTC.new_zeros(batch, features, blocks, size)
    x.flatten(2)[:, :, lags // 2 : lags // 2 + length] = x_BTC.mT
    y.flatten(2)[:, :, :length] = y_BTC.mT
    products = torch.cat([(near.mT @ y).sum(0) for near in (x[:, :, :-1], x[:, :, 1:])], 1)
    return products.as_strided((features, lags, size), (2 * size * size, size, size + 1)).sum(-1)
