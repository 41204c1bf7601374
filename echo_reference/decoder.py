"""The text side: from earlier tokens and audio features to features of the next token."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from echo_reference.modules.attention import Place, Source
from echo_reference.modules.block import DecoderBlock
from echo_reference.modules.dials import EchoDials
from echo_reference.modules.embedding import LearnedSinusoids, TokenEmbedding
from echo_reference.modules.spec import StackSpec
from echo_reference.modules.stack import Heard, Turner
from echo_reference.modules.tied import Ends


class TextDecoder(nn.Module):
    """Token and position embedding, blocks, a last norm and the tied output.

    Args:
        spec: the stack's shape.
        tokens: the embedding of tokens.
        source_width: features of the audio, or None without cross-attention.
        dials: the model's knobs.
    """

    def __init__(
        self,
        spec: StackSpec,
        tokens: TokenEmbedding,
        source_width: int | None,
        dials: EchoDials,
    ) -> None:
        super().__init__()
        self.gradient_checkpointing = spec.checkpointing
        self.tokens = tokens
        self.position = LearnedSinusoids(spec.context, spec.width, spec.position_gain, spec.checkpointing)
        self.turner = Turner(spec, dials.rotary_base, source_width)
        self.blocks = nn.ModuleList(DecoderBlock(spec, source_width, dials) for _ in range(spec.layers))
        self.norm = nn.LayerNorm(spec.width)
        self.dropout = dials.dropout

    def read(self, audio_BSC: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the audio for each block, made once for a clip; empty without cross-attention."""
        readers = [block.cross for block in self.blocks if isinstance(block, DecoderBlock)]
        return [reader.keys_values(audio_BSC) for reader in readers if reader is not None]

    def forward(
        self,
        tokens_BT: Tensor,
        sources: list[Source],
        place: Place,
        shared: Tensor | None = None,
        heard: Heard | None = None,
        *,
        ends: Ends | None = None,
    ) -> Tensor:
        """Return features (B, T, d) ready for the tied output layer.

        Args:
            tokens_BT: tokens at positions place.first, place.first + 1, ...
            sources: the audio for each block, none without cross-attention.
            place: the first position, and where earlier keys and values are.
            shared: the model's one rotation, where it has one.
            heard: the audio, for rotations that depend on it.
            ends: of the token embedding's weight, where the features go to the output layer that shares it.
        """
        first, count = place.first, tokens_BT.shape[1]
        x = self.dropout(self.tokens(tokens_BT, ends) + self.position(first, count))
        turnings = self.turner(first + torch.arange(count, device=x.device), shared, heard)
        given: list[Source | None] = [*sources] if sources else [None] * len(turnings)
        for block, turning, source in zip(self.blocks, turnings, given, strict=True):
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, turning, source, place, use_reentrant=False)
            else:
                x = block(x, turning, source, place)
        return self.tokens.masked(self.norm(x))
