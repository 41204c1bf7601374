"""The limit on the norm of the gradient."""

from __future__ import annotations

import math
from typing import Any

import torch

from homeostat.actuators.limit import NEAR, LimitActuator
from homeostat.actuators.lots import Lots
from homeostat.norms import at_hand, gradient_norm, local
from homeostat.plant import Plant


class _Clip:
    """The knob, and which steps are inspected."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.lots = Lots()


class ClipNorm(LimitActuator):
    """Scales the gradient down to a joint 2-norm of at most the knob, before every step, without waiting for it.

    g <- g min(1, limit / ||g||), over all parameters; the norm is the one `GradientNorm` reads, without the
    gradient scale. A gradient within the limit is left bit-identical, a non-finite one as it is. At `high` the clip
    is open: nothing is measured and nothing is scaled. With a `lot` the gradients of quiet times are looked at in some
    steps only; what passes between them is for the guards, a fault of whose makes every step be looked at again.
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
        if memory.lots.passes(plant.tick, plant.faults) or self.is_open(memory.value):
            return
        memory.lots.hear(plant.faults)
        norm = gradient_norm(plant) if memory.lots.due(plant.tick, self.lot, self.calm) else None
        if norm is None:
            return
        if self.lot > 1:
            memory.lots.note(plant.tick, ~(norm <= NEAR * memory.value))
        known = at_hand(norm)
        # A non-finite norm says nothing of the size; skipping such a step is a guard's work.
        if known is not None and not memory.value < known[0] < math.inf:
            return
        with torch.no_grad():
            factor = torch.where((norm <= memory.value) | ~norm.isfinite(), 1.0, memory.value / norm)
            torch._foreach_mul_([g._values() if g.is_sparse else local(g) for g in plant.gradients()], factor)

    def save(self, plant: Plant, memory: _Clip) -> list[Any]:
        """Return which steps are inspected."""
        memory.lots.hear(plant.faults)
        return memory.lots.save()

    def load(self, plant: Plant, memory: _Clip, saved: list[Any]) -> None:
        """Continue with them."""
        memory.lots.load(saved, plant.faults)
