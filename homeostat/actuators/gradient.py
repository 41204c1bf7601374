"""The limit on the norm of the gradient."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from homeostat.actuators.limit import NEAR, LimitActuator
from homeostat.actuators.lots import Lots
from homeostat.actuators.probe import Probe
from homeostat.landing import on_host
from homeostat.norms import at_hand, gradient_norm, is_sharded, local
from homeostat.plant import Plant


class _Clip:
    """The knob, which steps are inspected, and what tells of more that must be; None where the host cannot know."""

    def __init__(self, value: float, probe: Probe | None, *, is_open: bool, sharded: bool) -> None:
        self.value, self.is_open = value, is_open
        self.lots = Lots()
        self.probe = probe
        self.sharded = sharded


class ClipNorm(LimitActuator):
    """Scales the gradient down to a joint 2-norm of at most the knob, before every step, without waiting for it.

    g <- g min(1, limit / ||g||), over all parameters; the norm is the one `GradientNorm` reads, without the
    gradient scale. A gradient within the limit is left bit-identical, a non-finite one as it is. At `high` the clip
    is open: nothing is measured and nothing is scaled.

    With a `lot`, on the CPU, every step is looked at until `calm` in a row were quiet; from then on one in `lot`, and
    those in which a small gradient tells that the norm may be above `NEAR` of the limit (`Probe`), until one is found
    above the limit that it did not tell of. On an accelerator a look needs no wait, and every step gets one. A sharded
    gradient takes a collective to look at, and one step of the `lot` gets it. A fault that a guard has found makes
    every step be looked at again.
    """

    high: float = 1e4

    def init(self, plant: Plant) -> _Clip:
        """Begin at `start`."""
        sharded = any(map(is_sharded, plant.parameters()))
        probes = self.lot > 1 and not sharded and all(map(on_host, plant.parameters()))
        probe = Probe(self.calm) if probes else None
        return _Clip(self.first, probe, is_open=self.is_open(self.first), sharded=sharded)

    def targets(self, plant: Plant) -> frozenset[str]:
        """Name the gradient."""
        del plant
        return frozenset({"gradient norm"})

    def before_step(self, plant: Plant, memory: _Clip) -> None:
        """Scale the gradients."""
        if memory.is_open:
            return
        due = not memory.lots.passes(plant.tick, plant.faults) and self._is_due(plant, memory)
        if not (due or self._is_told(plant, memory)):
            return
        norm = gradient_norm(plant)
        if norm is None:
            return
        known = at_hand(norm)
        if self.lot > 1:
            self._note(plant, memory, norm if known is None else known[0], due=due)
        # A non-finite norm says nothing of the size; skipping such a step is a guard's work.
        if known is not None and not memory.value < known[0] < math.inf:
            return
        with torch.no_grad():
            factor = torch.where((norm <= memory.value) | ~norm.isfinite(), 1.0, memory.value / norm)
            torch._foreach_mul_([g._values() if g.is_sparse else local(g) for g in plant.gradients()], factor)

    def save(self, plant: Plant, memory: _Clip) -> list[Any]:
        """Return which steps are inspected."""
        memory.lots.hear(plant.faults)
        return [memory.lots.save(), None if memory.probe is None else memory.probe.save(plant.parameters())]

    def load(self, plant: Plant, memory: _Clip, saved: list[Any]) -> None:
        """Continue with them."""
        lots, probe = saved
        memory.lots.load(lots, plant.faults)
        if memory.probe is not None and probe is not None:
            memory.probe.load(plant.parameters(), probe)

    def _is_due(self, plant: Plant, memory: _Clip) -> bool:
        """Whether the step under way is looked at whatever a probe tells."""
        memory.lots.hear(plant.faults)
        return memory.lots.due(plant.tick, self.lot, self.calm)

    def _is_told(self, plant: Plant, memory: _Clip) -> bool:
        """Whether the step under way is to be looked at besides: the norm may be near the limit, or a look is cheap."""
        if memory.probe is None:
            return not memory.sharded
        # A scale that has changed would pass for a gradient that has.
        return plant.scaled or memory.probe.stands_out(NEAR * memory.value)

    def _note(self, plant: Plant, memory: _Clip, norm: Tensor | float, *, due: bool) -> None:
        """Learn from a look how the next steps are to be looked at."""
        quiet = norm <= NEAR * memory.value
        if isinstance(quiet, Tensor) or memory.probe is None:
            memory.lots.note(plant.tick, ~quiet if isinstance(quiet, Tensor) else not quiet)
            return
        if due and memory.lots.quiet < self.calm:
            memory.lots.note(plant.tick, not quiet)
        elif due:
            # What the probe tells of needs no further looks.
            memory.lots.note(plant.tick, not norm <= memory.value and not self._is_told(plant, memory))
        if quiet:
            memory.probe.note(plant.parameters(), float(norm))
