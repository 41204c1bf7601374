"""Convolutions of the encoder: the stem that divides time, and the branch beside attention."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echo_reference.modules.depthwise import depthwise


class Stem(nn.Module):
    """Turns log-mel frames into encoder positions, dividing time by 2, 4 or 8.

    GELU after each convolution of 3 taps. Factor 2 is Whisper's stem (strides 1, 2); 4 has strides 2, 2 and
    8 has 2, 2, 2. A length n becomes ceil(n / factor).

    Args:
        mels: features of a frame.
        width: features of a position.
        subsampling: 2, 4 or 8.
    """

    def __init__(self, mels: int, width: int, subsampling: int) -> None:
        super().__init__()
        self.strides = {2: (1, 2), 4: (2, 2), 8: (2, 2, 2)}[subsampling]
        # Most of the cost lies before time is divided, so a deeper stem begins with half the width.
        sizes = (mels, width if subsampling == 2 else width // 2, *[width] * (len(self.strides) - 1))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(sizes[i], sizes[i + 1], 3, stride, 1) for i, stride in enumerate(self.strides)
        )

    def forward(self, features_BMT: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return positions (B, T', d) and their lengths.

        With `lengths` (B,), what lies beyond a clip is set to zero before each convolution, so that a clip's
        positions do not depend on how far its batch is padded.
        """
        x = _silence(features_BMT, lengths)
        for convolution, stride in zip(self.convolutions, self.strides, strict=True):
            lengths = None if lengths is None else torch.div(lengths + stride - 1, stride, rounding_mode="floor")
            x = _silence(F.gelu(convolution(x)), lengths)
        return x.transpose(1, 2), lengths


def _silence(x_BCT: Tensor, lengths: Tensor | None) -> Tensor:
    return x_BCT if lengths is None else x_BCT * valid(lengths, x_BCT.shape[2])[:, None].to(x_BCT.dtype)


def valid(lengths: Tensor, size: int) -> Tensor:
    """True at positions before each length, shape (B, size)."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


class ConvolutionBranch(nn.Module):
    """Local patterns beside attention: gate * W GELU(depthwise(x)).

    The gate starts at a given value, 0 for a branch that is not there yet; the weights start normally, since
    with both at zero neither would ever have a gradient.

    Args:
        width: features d.
        kernel: taps, odd.
        gate: initial gate.
    """

    def __init__(self, width: int, kernel: int, gate: float) -> None:
        super().__init__()
        self.initial_gate = gate
        self.depthwise = nn.Conv2d(width, width, (1, kernel), padding=(0, kernel // 2), groups=width)
        self.pointwise = nn.Linear(width, width)
        self.gate = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the gate; the layers have their own initialisation."""
        nn.init.constant_(self.gate, self.initial_gate)
        nn.init.normal_(self.depthwise.weight, std=self.depthwise.kernel_size[1] ** -0.5)

    def forward(self, x_BTC: Tensor, key_mask: Tensor | None) -> Tensor:
        """Filter (B, T, d) along T; positions that `key_mask` excludes count as zero."""
        if key_mask is not None:
            x_BTC = x_BTC * key_mask[..., None].to(x_BTC.dtype)
        y = depthwise(x_BTC, self.depthwise.weight, self.depthwise.bias)
        return self._gated(F.gelu(y))

    def _gated(self, y_BTC: Tensor) -> Tensor:
        """The gate times the pointwise layer's result; where that is a plain one, the gate goes into its weights."""
        layer = self.pointwise
        if type(layer) is not nn.Linear:
            return cast("Tensor", self.gate * layer(y_BTC))
        return F.linear(y_BTC, self.gate * layer.weight, self.gate * layer.bias)
