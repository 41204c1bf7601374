"""What a stack of blocks is made of, apart from any configuration file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StackSpec:
    """Shape and features of one stack of blocks; the encoder and the decoder have one each.

    Attributes:
        width: features of a position, d.
        heads: attention heads H; each has d / H features.
        layers: blocks in the stack.
        mlp_width: hidden features of the feed-forward part.
        context: most positions the stack has embeddings for.
        causal: a position sees only itself and earlier ones.
        local_heads: how many of the heads (the first ones) see only the window.
        max_rel_dist: largest distance with a relative bias of its own.
        global_bias: give the global heads a relative bias too.
        frequency_scales: one factor on the rotary frequencies per group of heads.
        rotation: "exact", "free" or "none".
        rotation_sharing: "model", "layer", "head" or "conditional".
        givens_rounds: rounds of disjoint plane rotations before R.
        givens_std: standard deviation of the angles at initialisation.
        position_scale: initial factor on the positions in the rotary angles.
        position_gain: initial norm of a row of the position embedding, or None for the sinusoid's own.
        conv_kernel: taps of the convolution branch, 0 for none.
        gate: initial gate of the convolution branch.
        checkpointing: recompute the blocks' activations in the backward pass.
    """

    width: int
    heads: int
    layers: int
    mlp_width: int
    context: int
    causal: bool
    local_heads: int
    max_rel_dist: int
    global_bias: bool
    frequency_scales: tuple[float, ...]
    rotation: str
    rotation_sharing: str
    givens_rounds: int
    givens_std: float
    position_scale: float
    position_gain: float | None
    conv_kernel: int
    gate: float
    checkpointing: bool

    @property
    def head_width(self) -> int:
        """Features of one head."""
        return self.width // self.heads
