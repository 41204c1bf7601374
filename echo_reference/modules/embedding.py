"""Embeddings of positions and tokens."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from echo_reference.modules.memo import Memo
from echo_reference.modules.tied import Ends
from homeostat.nn import Dial


def sinusoids(positions: int, width: int) -> Tensor:
    """Whisper's table: sines then cosines at width / 2 frequencies from 1 to 1 / 10000, (positions, width)."""
    half = width // 2
    decay = torch.exp(-math.log(10000.0) / max(1, half - 1) * torch.arange(half))
    angle = torch.arange(positions)[:, None] * decay
    return torch.cat((angle.sin(), angle.cos()), 1)


class LearnedSinusoids(nn.Module):
    """A position embedding that starts as sinusoids and is learned as direction and gain.

    row_t = gain_t * direction_t / |direction_t|

    Args:
        positions: rows.
        width: features d.
        gain: initial norm of a row; None for the sinusoid's own, sqrt(d / 2).
        checkpointing: normalise the rows again in the backward pass instead of keeping them.
    """

    def __init__(self, positions: int, width: int, gain: float | None, checkpointing: bool = False) -> None:
        super().__init__()
        self.gradient_checkpointing = checkpointing
        self.initial_gain = math.sqrt(width / 2) if gain is None else gain
        self.direction = nn.Parameter(torch.empty(positions, width))
        self.gain = nn.Parameter(torch.empty(positions))
        self.memo = Memo[Tensor]()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as sinusoids."""
        with torch.no_grad():
            self.direction.copy_(sinusoids(*self.direction.shape))
        nn.init.constant_(self.gain, self.initial_gain)

    def forward(self, first: int | Tensor, count: int) -> Tensor:
        """Rows first ... first + count - 1, shape (count, d)."""
        if isinstance(first, int):
            rows: slice | Tensor = slice(first, first + count)
        else:
            rows = first + torch.arange(count, device=first.device)
        if self.gradient_checkpointing and self.training:
            return cast("Tensor", checkpoint(self._rows, rows, use_reentrant=False))
        if self.memo.keeps:
            table: Tensor = self.memo([self.direction, self.gain], lambda: self._rows(slice(None)))
            return table[rows]
        return self._rows(rows)

    def _rows(self, rows: slice | Tensor) -> Tensor:
        return F.normalize(self.direction[rows], dim=-1) * self.gain[rows, None]


class TokenEmbedding(nn.Module):
    """Token vectors of which a dial chooses how many dimensions act, on the way in and on the way out.

    m_i = clamp((w (1 + r / d) - i) / r, 0, 1) with r = d / 16, and the result times sqrt(d / sum m^2), so that
    the scale stays. At w = d it is the identity. The output is tied: logits = (h * m) E^T.

    Args:
        tokens: rows of E.
        width: d.
        active: the dial w.
    """

    def __init__(self, tokens: int, width: int, active: Dial) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.active = active
        self.memo = Memo[Tensor]()

    def mask(self) -> Tensor:
        """The factors m_i * sqrt(d / sum m^2), shape (d,), float32."""
        kept: Tensor = self.memo([self.active.position], self._mask)
        return kept

    def _mask(self) -> Tensor:
        width = self.embedding.embedding_dim
        edge = width / 16
        index = torch.arange(width, device=self.embedding.weight.device, dtype=torch.float32)
        active: Tensor = self.active()
        m = ((active * (1 + edge / width) - index) / edge).clamp(0.0, 1.0)
        return m * (m.square().sum() / width).rsqrt()

    def forward(self, tokens_BT: Tensor, ends: Ends | None = None) -> Tensor:
        """Vectors of the tokens, (B, T, d).

        Args:
            tokens_BT: which.
            ends: of the weight, where the output layer's gradient is made along with this one.
        """
        return self.masked(self.embedding(tokens_BT) if ends is None else ends.read(tokens_BT))

    def masked(self, hidden_BTC: Tensor) -> Tensor:
        """Hidden features as the tied output layer shall see them."""
        # The identity at full width. A compiler would guard the dial's value, and compile anew where it moves.
        if not torch.compiler.is_compiling() and self.active.value == self.embedding.embedding_dim:
            return hidden_BTC
        masked: Tensor = hidden_BTC * self.mask().to(hidden_BTC.dtype)
        return masked
