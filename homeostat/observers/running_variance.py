"""What batch normalisation remembers of the batches it has seen."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from homeostat.errors import AttachError
from homeostat.landing import on_host
from homeostat.observers.observer import Observer, Reduction
from homeostat.plant import Plant

FEW = 256
"""Channels whose mean is taken in Python."""


class _Layers:
    """The layers, how many channels each has, and where the first one's statistics stand."""

    def __init__(self, layers: list[Any]) -> None:
        self.layers = layers
        self.channels = torch.tensor([float(layer.running_var.numel()) for layer in layers], device="cpu")
        self.are_few = sum(layer.running_var.numel() for layer in layers) <= FEW
        self.first = layers[0]._buffers


class RunningVariance(Observer):
    """Measures the running variance of batch normalisation: the mean over channels, of the layer where it is greatest.

    A batch whose inputs are far too large leaves no trace in the loss, since the layer divides by their size; but what
    it leaves in the running variance spoils every evaluation for a hundred steps.

    Each rank has its own statistics; the reading is of the one where they are greatest.

    Raises:
        AttachError: the model has no layer with running statistics.
    """

    reduction: ClassVar[Reduction] = "max"
    instant: ClassVar[bool] = True

    def init(self, plant: Plant) -> _Layers:
        """Find the layers."""
        found = [m for m in plant.model.modules() if isinstance(m, _NormBase) and m.running_var is not None]
        if not found:
            msg = (
                "RunningVariance must find a layer with running statistics; got none. Leave it out: other layers "
                "remember nothing of a batch."
            )
            raise AttachError(msg)
        return _Layers(found)

    def observe(self, plant: Plant, memory: _Layers) -> Tensor | float:
        """Return the greatest mean variance."""
        del plant
        variances = [_variance(layer) for layer in memory.layers]
        if memory.are_few and on_host(variances[0]):
            # Half the time of what follows, for so few.
            means = [sum(variance.tolist()) / len(variance) for variance in variances]
            return math.nan if any(map(math.isnan, means)) else max(means)
        # No variance is negative, so that a norm is a sum; one call takes those of all layers.
        sums = torch.stack(torch._foreach_norm(variances, 1))
        if memory.channels.device != sums.device:
            memory.channels = memory.channels.to(sums.device)
        return (sums / memory.channels).max()

    def glance(self, plant: Plant, memory: _Layers) -> Tensor | float:
        """Return the mean variance of the first layer: those after it see what it has divided by its size."""
        del plant
        variance: Tensor = memory.first["running_var"]
        channels = len(variance)
        if channels > FEW:
            return variance.mean()
        # A tenth of the time of a mean.
        return float(sum(variance.tolist())) / channels


def _variance(layer: Any) -> Tensor:
    """Return the running variance, past the module's own look-up, which takes as long as a sum of it."""
    variance: Tensor = layer._buffers["running_var"]
    return variance
