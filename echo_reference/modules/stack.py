"""What encoder and decoder share: rotary angles and rotations of all layers, made in one go."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from echo_reference.modules.attention import Turning
from echo_reference.modules.memo import Memo
from echo_reference.modules.rotary import Rotary
from echo_reference.modules.rotation import AngleCondition, Rotation, compose
from echo_reference.modules.spec import StackSpec
from echo_reference.modules.turn import factors, with_values
from homeostat.nn import Dial


class Heard(NamedTuple):
    """What conditional rotations depend on: audio (B, S, C), and a mask (B, S), True at valid positions."""

    audio: Tensor
    mask: Tensor | None

    def mean(self) -> Tensor:
        """Mean (B, C) over the valid positions."""
        if self.mask is None:
            return self.audio.mean(1)
        weight = self.mask.to(self.audio.dtype)
        return (self.audio * weight[..., None]).sum(1) / weight.sum(1, keepdim=True).clamp_min(1)


class RotationSlot(nn.Module):
    """Holds one rotation under the name `rotation`, by which globs find it.

    Args:
        spec: the shape of the stack, or of any stack that shares the rotation.
    """

    def __init__(self, spec: StackSpec) -> None:
        super().__init__()
        copies = (spec.heads,) if spec.rotation_sharing == "head" else ()
        exact = spec.rotation == "exact"
        self.rotation = Rotation(spec.head_width, copies, spec.givens_rounds, exact, spec.givens_std)


class Turner(nn.Module):
    """Makes each layer's rotation and rotary angles.

    Args:
        spec: the stack's shape; where the rotation is the model's, the stack has none of its own.
        base: the rotary base's dial.
        heard_width: features of the audio that conditional rotations are made from.
    """

    def __init__(self, spec: StackSpec, base: Dial, heard_width: int | None) -> None:
        super().__init__()
        self.layers = spec.layers
        self.rotary = Rotary(spec.head_width, spec.layers, spec.frequency_scales, spec.position_scale, base)
        own = spec.rotation != "none" and spec.rotation_sharing != "model"
        self.slots = nn.ModuleList(RotationSlot(spec) for _ in range(spec.layers if own else 0))
        self.condition = None
        if own and spec.rotation_sharing == "conditional" and heard_width is not None:
            self.condition = AngleCondition(heard_width, spec.layers, spec.givens_rounds, spec.head_width // 2)
        self.memo = Memo[list[Tensor]]()
        self.context = spec.context
        self.table = Memo[tuple[Tensor, Tensor]]()

    def forward(self, positions: Tensor, shared: Tensor | None, heard: Heard | None) -> list[Turning]:
        """One `Turning` per layer.

        Args:
            positions: (T,).
            shared: the model's one rotation, if it has one.
            heard: what conditional rotations depend on; text plays no part.
        """
        angles, factor = self._angles(positions)
        matrices: list[Tensor | None] = [shared] * self.layers
        if len(self.slots):
            sources = [parameter for rotation in self._rotations() for parameter in rotation.learned()]
            if self.condition is not None and heard is not None:
                sources += [*self.condition.parameters(), heard.audio]
            matrices = [*self.memo(sources, lambda: self._matrices(heard))]
        by_layer = [None] * self.layers if factor is None else factor.unbind(0)
        return [Turning(i, *given) for i, given in enumerate(zip(matrices, angles.unbind(0), by_layer, strict=True))]

    def _angles(self, positions: Tensor) -> tuple[Tensor, Tensor | None]:
        """Angles of all layers; and where no gradient is wanted their factors, which a text has made once."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.rotary(positions), None
        if len(positions) > 1 or not self.table.keeps:
            angles = self.rotary(positions)
            return angles, factors(angles)
        angles, factor = self.table(self.rotary.sources(), lambda: self._table(positions.device))
        return angles.index_select(2, positions), factor.index_select(1, positions)

    def _table(self, device: torch.device) -> tuple[Tensor, Tensor]:
        angles = self.rotary(torch.arange(self.context, device=device))
        return angles, with_values(factors(angles))

    def _rotations(self) -> list[Rotation]:
        return [slot.rotation for slot in self.slots if isinstance(slot, RotationSlot)]

    def _matrices(self, heard: Heard | None) -> list[Tensor]:
        rotations = self._rotations()
        if self.condition is None or heard is None:
            return list(compose(rotations))
        # The added dimension stands for the heads, which a clip's rotation is common to.
        return list(compose(rotations, self.condition(heard.mean()))[:, :, None])
