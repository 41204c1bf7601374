"""What encoder and decoder share: rotary angles and rotations of all layers, made in one go."""

from __future__ import annotations

from torch import Tensor, nn

from echo_reference.modules.attention import Turning
from echo_reference.modules.rotary import Rotary
from echo_reference.modules.rotation import Rotation, compose
from echo_reference.modules.spec import StackSpec
from homeostat.nn import Dial


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
    """

    def __init__(self, spec: StackSpec, base: Dial) -> None:
        super().__init__()
        self.layers = spec.layers
        self.rotary = Rotary(spec.head_width, spec.layers, spec.frequency_scales, spec.position_scale, base)
        own = spec.rotation != "none" and spec.rotation_sharing != "model"
        self.slots = nn.ModuleList(RotationSlot(spec) for _ in range(spec.layers if own else 0))

    def forward(self, positions: Tensor, shared: Tensor | None) -> list[Turning]:
        """One `Turning` per layer for `positions` (T,); `shared` is the model's one rotation, if it has one."""
        angles = self.rotary(positions)
        matrices: list[Tensor | None] = [shared] * self.layers
        if len(self.slots):
            matrices = list(compose([slot.rotation for slot in self.slots if isinstance(slot, RotationSlot)]))
        return [Turning(i, matrices[i], angles[i]) for i in range(self.layers)]
