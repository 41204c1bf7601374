"""One block of the encoder and one of the decoder, both normalised before each part."""

from __future__ import annotations

from homeostat.nn import Dial, Dropout
from torch import Tensor, nn
from torch.nn import functional as F

from echo_reference.modules.attention import CrossAttention, KeyValueCache, SelfAttention, Turning
from echo_reference.modules.convolution import ConvolutionBranch
from echo_reference.modules.spec import StackSpec


class FeedForward(nn.Module):
    """W_2 GELU(W_1 x), position by position."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Transform (B, T, d)."""
        return self.fc2(F.gelu(self.fc1(x_BTC)))


class EncoderBlock(nn.Module):
    """Attention joined with convolution, then feed-forward.

    Args:
        spec: the stack's shape.
        window: the attention window's dial.
        dropout: shared by the model, since its rate is one dial.
    """

    def __init__(self, spec: StackSpec, window: Dial, dropout: Dropout) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(spec.width)
        self.attention = SelfAttention(spec, window)
        self.convolution = ConvolutionBranch(spec.width, spec.conv_kernel, spec.gate) if spec.conv_kernel else None
        self.feed_norm = nn.LayerNorm(spec.width)
        self.feed = FeedForward(spec.width, spec.mlp_width)
        self.dropout = dropout

    def forward(self, x_BTC: Tensor, turning: Turning, key_mask: Tensor | None) -> Tensor:
        """Transform (B, T, d); `key_mask` (B, T) is True at valid positions."""
        h = self.attention_norm(x_BTC)
        mixed = self.attention(h, turning, key_mask)
        if self.convolution is not None:
            mixed = mixed + self.convolution(h, key_mask)
        x_BTC = x_BTC + self.dropout(mixed)
        return x_BTC + self.dropout(self.feed(self.feed_norm(x_BTC)))


class DecoderBlock(nn.Module):
    """Causal self-attention, attention on the audio, then feed-forward.

    Args:
        spec: the stack's shape.
        source_width: features of the audio, or None for a block that reads none.
        window: the attention window's dial.
        dropout: shared by the model.
    """

    def __init__(self, spec: StackSpec, source_width: int | None, window: Dial, dropout: Dropout) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(spec.width)
        self.attention = SelfAttention(spec, window)
        self.cross_norm = nn.LayerNorm(spec.width) if source_width else None
        self.cross = CrossAttention(spec.width, spec.heads, source_width) if source_width else None
        self.feed_norm = nn.LayerNorm(spec.width)
        self.feed = FeedForward(spec.width, spec.mlp_width)
        self.dropout = dropout

    def forward(
        self,
        x_BTC: Tensor,
        turning: Turning,
        source: tuple[Tensor, Tensor] | None,
        source_mask: Tensor | None,
        cache: KeyValueCache | None,
        layer: int,
        first: int,
    ) -> Tensor:
        """Transform (B, T, d); `source` holds the audio's keys and values, `first` is the first position."""
        h = self.attention_norm(x_BTC)
        x_BTC = x_BTC + self.dropout(self.attention(h, turning, None, cache, layer, first))
        if self.cross is not None and self.cross_norm is not None and source is not None:
            x_BTC = x_BTC + self.dropout(self.cross(self.cross_norm(x_BTC), *source, source_mask))
        return x_BTC + self.dropout(self.feed(self.feed_norm(x_BTC)))
