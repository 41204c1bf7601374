"""The text side: from earlier tokens and audio features to features of the next token."""

from __future__ import annotations

import torch
from homeostat.nn import Dial, Dropout
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from echo_reference.modules.attention import KeyValueCache
from echo_reference.modules.block import DecoderBlock
from echo_reference.modules.embedding import LearnedSinusoids, TokenEmbedding
from echo_reference.modules.spec import StackSpec
from echo_reference.modules.stack import Turner


class TextDecoder(nn.Module):
    """Token and position embedding, blocks, a last norm and the tied output.

    Args:
        spec: the stack's shape.
        tokens: the embedding of tokens.
        source_width: features of the audio, or None without cross-attention.
        base: the rotary base's dial.
        window: the attention window's dial.
        dropout: shared by the model.
    """

    def __init__(
        self,
        spec: StackSpec,
        tokens: TokenEmbedding,
        source_width: int | None,
        base: Dial,
        window: Dial,
        dropout: Dropout,
    ) -> None:
        super().__init__()
        self.gradient_checkpointing = spec.checkpointing
        self.tokens = tokens
        self.position = LearnedSinusoids(spec.context, spec.width, spec.position_gain)
        self.turner = Turner(spec, base)
        self.blocks = nn.ModuleList(
            DecoderBlock(spec, source_width, window, dropout) for _ in range(spec.layers)
        )
        self.norm = nn.LayerNorm(spec.width)
        self.dropout = dropout

    def read(self, audio_BSC: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the audio for each block, made once for a clip; empty without cross-attention."""
        return [block.cross.keys_values(audio_BSC) for block in self.blocks if block.cross is not None]

    def forward(
        self,
        tokens_BT: Tensor,
        sources: list[tuple[Tensor, Tensor]],
        source_mask: Tensor | None,
        cache: KeyValueCache | None = None,
        first: int = 0,
        shared: Tensor | None = None,
    ) -> Tensor:
        """Return features (B, T, d) ready for the tied output layer.

        Args:
            tokens_BT: tokens at positions first, first + 1, ...
            sources: what `read` made of the audio.
            source_mask: (B, S), True at valid frames.
            cache: keys and values of earlier positions.
            first: position of the first token.
            shared: the model's one rotation, where it has one.
        """
        count = tokens_BT.shape[1]
        x = self.dropout(self.tokens(tokens_BT) + self.position(first, count))
        turnings = self.turner(torch.arange(first, first + count, device=x.device), shared)
        for layer, (block, turning) in enumerate(zip(self.blocks, turnings, strict=True)):
            source = sources[layer] if sources else None
            arguments = (x, turning, source, source_mask, cache, layer, first)
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, *arguments, use_reentrant=False)
            else:
                x = block(*arguments)
        return self.tokens.masked(self.norm(x))
