"""Weights in memory of their own, as torch lays it out."""

from __future__ import annotations

import torch
from torch import nn

_ALIGNMENT = 64
"""Bytes; where torch's own allocations begin."""


@torch.no_grad()
def own_memory(model: nn.Module) -> None:
    """Move each weight on the host that begins at an odd address to memory of its own.

    A checkpoint that is read gives weights which lie in the file's memory one behind the other. Some processors' matrix
    products take another path for these, and round otherwise than a model that never was saved.
    """
    for parameter in model.parameters():
        if parameter.device.type == "cpu" and parameter.data_ptr() % _ALIGNMENT:
            parameter.data = parameter.data.clone()
