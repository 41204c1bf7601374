"""The audio side: from log-mel frames to features that the decoder and the CTC head read."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from echo_reference.modules.block import EncoderBlock
from echo_reference.modules.convolution import Stem, valid
from echo_reference.modules.dials import EchoDials
from echo_reference.modules.embedding import LearnedSinusoids
from echo_reference.modules.spec import StackSpec
from echo_reference.modules.stack import Heard, Turner


class AudioEncoder(nn.Module):
    """Stem, position embedding, blocks and a last norm.

    Args:
        spec: the stack's shape.
        mels: features of a frame.
        subsampling: frames per position: 2, 4 or 8.
        dials: the model's knobs.
    """

    main_input_name = "input_features"

    def __init__(
        self,
        spec: StackSpec,
        mels: int,
        subsampling: int,
        dials: EchoDials,
    ) -> None:
        super().__init__()
        self.gradient_checkpointing = spec.checkpointing
        self.stem = Stem(mels, spec.width, subsampling)
        self.position = LearnedSinusoids(spec.context, spec.width, spec.position_gain, spec.checkpointing)
        self.turner = Turner(spec, dials.rotary_base, spec.width)
        self.blocks = nn.ModuleList(EncoderBlock(spec, dials) for _ in range(spec.layers))
        self.norm = nn.LayerNorm(spec.width)
        self.dropout = dials.dropout

    def forward(
        self, features_BMT: Tensor, lengths: Tensor | None, shared: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return features (B, T', d) and the mask (B, T') of valid ones, None without `lengths`.

        Args:
            features_BMT: log-mel frames.
            lengths: valid frames of each clip, or None where padding shall count as audio.
            shared: the model's one rotation, where it has one.
        """
        x, lengths = self.stem(features_BMT, lengths)
        count = x.shape[1]
        mask = None if lengths is None else valid(lengths, count)
        x = self.dropout(x + self.position(0, count))
        turnings = self.turner(torch.arange(count, device=x.device), shared, Heard(x, mask))
        for block, turning in zip(self.blocks, turnings, strict=True):
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, turning, mask, use_reentrant=False)
            else:
                x = block(x, turning, mask)
        x = self.norm(x)
        return (x if mask is None else x * mask[..., None].to(x.dtype)), mask
