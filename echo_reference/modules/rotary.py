"""Rotary positions whose base is a dial and whose frequencies are learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from echo_reference.modules.precise import Precise
from homeostat.nn import Dial


class Rotary(Precise):
    """Angles of the rotary planes, for every layer of a stack at once.

    angle[l, g, t, p] = t * scale_l * m_g * base^(-p / P) * exp(offset[g, p]), with P = head_width / 2 planes
    and g the frequency set (consecutive groups of heads share one). `base` is a dial: what is
    learned is an offset on top of it, so a change of base loses nothing learned and no optimizer state.

    Args:
        head_width: features of a head, even.
        layers: layers L, each with a learned factor on its positions (0 makes the rotary step the identity).
        frequency_scales: one factor m_g per frequency set.
        position_scale: initial factor on the positions.
        base: the dial.
    """

    def __init__(
        self,
        head_width: int,
        layers: int,
        frequency_scales: tuple[float, ...],
        position_scale: float,
        base: Dial,
    ) -> None:
        super().__init__()
        self.planes = head_width // 2
        self.frequency_scales = frequency_scales
        self.initial_scale = position_scale
        self.base = base
        self.log_frequency_offset = nn.Parameter(torch.empty(len(frequency_scales), self.planes))
        self.position_scale = nn.Parameter(torch.empty(layers))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start at the plain rotary frequencies."""
        nn.init.zeros_(self.log_frequency_offset)
        nn.init.constant_(self.position_scale, self.initial_scale)

    def frequencies(self) -> Tensor:
        """Angle per position, shape (sets, P)."""
        offset = self.log_frequency_offset
        exponent = torch.arange(self.planes, device=offset.device, dtype=offset.dtype) / self.planes
        scales = torch.tensor(self.frequency_scales, device=offset.device, dtype=offset.dtype)
        return scales[:, None] * torch.exp(offset - exponent * self.base().to(offset.dtype).log())

    def sources(self) -> list[Tensor]:
        """What the angles are made of, besides positions."""
        return [self.log_frequency_offset, self.position_scale, self.base.position]

    def forward(self, positions: Tensor) -> Tensor:
        """Angles at `positions` (T,), shape (L, sets, T, P)."""
        with torch.autocast(positions.device.type, enabled=False):
            scaled = self.position_scale[:, None] * positions.to(self.position_scale.dtype)
            return scaled[:, None, :, None] * self.frequencies()[:, None, :]
