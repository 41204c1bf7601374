"""One block of the encoder and one of the decoder, both normalised before each part."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from echo_reference.modules.attention import CrossAttention, Place, SelfAttention, Source, Turning
from echo_reference.modules.convolution import ConvolutionBranch
from echo_reference.modules.dials import EchoDials
from echo_reference.modules.spec import StackSpec
from homeostat.nn import Dropout


class FeedForward(nn.Module):
    """Adds W_2 GELU(W_1 norm(x)) to x, position by position."""

    def __init__(self, width: int, hidden: int, dropout: Dropout) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.dropout = dropout

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Transform (B, T, d)."""
        change: Tensor = self.dropout(self.fc2(F.gelu(self.fc1(self.norm(x_BTC)))))
        return x_BTC + change


class EncoderBlock(nn.Module):
    """Attention joined with convolution, then feed-forward.

    Args:
        spec: the stack's shape.
        dials: the model's knobs.
    """

    def __init__(self, spec: StackSpec, dials: EchoDials) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(spec.width)
        self.attention = SelfAttention(spec, dials.attention_window)
        self.convolution = ConvolutionBranch(spec.width, spec.conv_kernel, spec.gate) if spec.conv_kernel else None
        self.feed = FeedForward(spec.width, spec.mlp_width, dials.dropout)
        self.dropout = dials.dropout

    def forward(self, x_BTC: Tensor, turning: Turning, key_mask: Tensor | None) -> Tensor:
        """Transform (B, T, d); `key_mask` (B, T) is True at valid positions."""
        h = self.attention_norm(x_BTC)
        mixed = self.attention(h, turning, key_mask)
        if self.convolution is not None:
            mixed = mixed + self.convolution(h, key_mask)
        x_BTC = x_BTC + self.dropout(mixed)
        out: Tensor = self.feed(x_BTC)
        return out


class DecoderBlock(nn.Module):
    """Causal self-attention, attention on the audio, then feed-forward.

    Args:
        spec: the stack's shape.
        source_width: features of the audio, or None for a block that reads none.
        dials: the model's knobs.
    """

    def __init__(self, spec: StackSpec, source_width: int | None, dials: EchoDials) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(spec.width)
        self.attention = SelfAttention(spec, dials.attention_window)
        self.cross_norm = nn.LayerNorm(spec.width) if source_width else None
        self.cross = CrossAttention(spec.width, spec.heads, source_width) if source_width else None
        self.feed = FeedForward(spec.width, spec.mlp_width, dials.dropout)
        self.dropout = dials.dropout

    def forward(
        self,
        x_BTC: Tensor,
        turning: Turning,
        source: Source | None,
        place: Place,
    ) -> Tensor:
        """Transform (B, T, d), reading the audio's keys and values."""
        h = self.attention_norm(x_BTC)
        x_BTC = x_BTC + self.dropout(self.attention(h, turning, place=place))
        if self.cross is not None and self.cross_norm is not None and source is not None:
            x_BTC = x_BTC + self.dropout(self.cross(self.cross_norm(x_BTC), source))
        out: Tensor = self.feed(x_BTC)
        return out
