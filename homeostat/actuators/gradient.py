"""The limit on the norm of the gradient."""

from __future__ import annotations

import math

import torch

from homeostat.actuators.limit import LimitActuator
from homeostat.norms import at_hand, gradient_norm, local
from homeostat.plant import Plant


class _Clip:
    """The knob."""

    def __init__(self, value: float) -> None:
        self.value = value


class ClipNorm(LimitActuator):
    """Scales the gradient down to a joint 2-norm of at most the knob, before every step, without waiting for it.

    g <- g min(1, limit / ||g||), over all parameters; the norm is the one `GradientNorm` reads, without the
    gradient scale. A gradient within the limit is left bit-identical, a non-finite one as it is. At `high` the clip
    is open: nothing is measured and nothing is scaled.
    """

    high: float = 1e4

    def init(self, plant: Plant) -> _Clip:
        """Begin at `start`."""
        del plant
        return _Clip(self.first)

    def targets(self, plant: Plant) -> frozenset[str]:
        """Name the gradient."""
        del plant
        return frozenset({"gradient norm"})

    def before_step(self, plant: Plant, memory: _Clip) -> None:
        """Scale the gradients."""
        norm = None if self.is_open(memory.value) else gradient_norm(plant)
        if norm is None:
            return
        known = at_hand(norm)
        # A non-finite norm says nothing of the size; skipping such a step is a guard's work.
        if known is not None and not memory.value < known[0] < math.inf:
            return
        with torch.no_grad():
            factor = torch.where((norm <= memory.value) | ~norm.isfinite(), 1.0, memory.value / norm)
            torch._foreach_mul_([g._values() if g.is_sparse else local(g) for g in plant.gradients()], factor)
