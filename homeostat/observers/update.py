"""How far a step moves the weights, relative to their size."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.linalg import vector_norm

from homeostat.errors import AttachError
from homeostat.norms import local
from homeostat.observers.observer import Observer, Phase
from homeostat.plant import Plant


class _Sample:
    """Which elements are looked at, and their values before the step.

    Attributes:
        count: the clock's tensors when the sample was drawn; more may have come since.
        positions: places of the sampled tensors in `plant.parameters()`.
        indices: elements of each, shape (tensors, elements); padded with 0.
        counts: how many of them are no padding.
        rows: rows of the sample that had a gradient when the step came.
        mask: of these, 1 for an element and 0 for padding; None where nothing is padded.
        least: the least norm that the weights of each of these rows count with, floor * sqrt(elements).
        middle: a half, or one, at the place of the median of as many sorted values; 0 elsewhere.
        before: their values before the step, shape (rows, elements); None if no measurement is under way.
        shape: where the learning-rate schedule stands, 1 at its reference.
    """

    def __init__(self, count: int, positions: list[int], indices: Tensor, counts: list[int], floor: float) -> None:
        self.count = count
        self.positions = positions
        self.indices = indices
        self.counts = counts
        self.floor = floor
        self.before: Tensor | None = None
        self.shape = 1.0
        self.select(list(range(len(positions))))

    def select(self, rows: list[int]) -> None:
        """Prepare for these rows; told once for many measurements, and on the host alone."""
        self.rows = rows
        counts = torch.tensor([self.counts[row] for row in rows], dtype=torch.float32, device="cpu")
        width = self.indices.shape[1]
        mask = (torch.arange(width, device="cpu") < counts[:, None]).float()
        self.mask = None if bool(mask.all()) else mask.to(self.indices.device)
        self.least = (self.floor * counts.sqrt()).to(self.indices.device)
        middle = torch.zeros(len(rows), device="cpu")
        for place in ((len(rows) - 1) // 2, len(rows) // 2) if rows else ():
            middle[place] += 0.5
        self.middle = middle.to(self.indices.device)

    def gather(self, parameters: list[Tensor]) -> Tensor:
        """Return the elements' values now, shape (rows, elements)."""
        taken = [torch.take(local(parameters[self.positions[row]]).detach(), self.indices[row]) for row in self.rows]
        values = torch.stack([t.to(self.least) for t in taken])
        return values if self.mask is None else values * self.mask


class UpdateRatio(Observer):
    """Measures rms(update) / max(rms(weight), floor), the median (or mean) over tensors, without a copy of the model.

    The update is what a step really did: rate, decay, limits and clipping included. It is taken from a random
    sample, drawn once from `seed`: `elements` of each tensor, at most `tensors` tensors. Measured against all
    elements (Adam, tests/observers/test_update.py): at 256 elements the error at the 95th percentile is 9 % for one
    tensor's ratio and 5 % for the median over 8 tensors; tensors that small are read exactly.

    Of a sharded tensor each rank samples its own shard; the reading is the mean over the ranks.

    Of several optimizers only the clock's tensors are read: the others step at moments of their own, and between
    the clock's two hooks their tensors stand still.

    Attributes:
        statistic: over tensors; the median does not see a few tensors that have just left zero.
        floor: least size a weight counts with.
        elements: sampled per tensor.
        tensors: sampled.
        vectors: include biases, gains and scalars, whose ratio has another scale than that of matrices.
        schedule: divide by where the learning-rate schedule stands (`Plant.schedule`), so that a loop corrects the
            level of the rate and the schedule keeps its shape; without it a loop undoes a warm-up or a decay.
        seed: of the sample.

    Raises:
        AttachError: the clock holds no trainable tensor of this kind.
    """

    phase: ClassVar[Phase] = "updates"

    statistic: Literal["median", "mean"] = "median"
    floor: float = Field(default=1e-3, gt=0)
    elements: int = Field(default=256, ge=1)
    tensors: int = Field(default=64, ge=1)
    vectors: bool = False
    schedule: bool = True
    seed: int = 0

    def init(self, plant: Plant) -> _Sample:
        """Draw the sample."""
        return self._sample(plant, len(_clocked(plant)))

    def prepare(self, plant: Plant, memory: _Sample) -> None:
        """Keep the sampled elements as they are before the step."""
        parameters = plant.parameters()
        with_gradient = [row for row, i in enumerate(memory.positions) if parameters[i].grad is not None]
        # With a closure the gradients come inside the step.
        rows = with_gradient or list(range(len(memory.positions)))
        if rows != memory.rows:
            memory.select(rows)
        # Shared by all that look at the same sample.
        sample = f"sample {self.seed} {self.elements} {self.tensors} {self.vectors} {memory.count}"
        memory.before = plant.cached(sample, lambda: memory.gather(parameters)) if rows else None
        memory.shape = plant.schedule() if self.schedule else 1.0

    def observe(self, plant: Plant, memory: _Sample) -> Tensor | None:
        """Compare the sampled elements with what they were."""
        before, memory.before = memory.before, None
        # At the foot of a warm-up the step is nothing and says nothing.
        if before is None or memory.shape == 0:
            return None
        update = memory.gather(plant.parameters()) - before
        # Norms in place of roots of means: both are over as many elements.
        ratios = vector_norm(update, dim=1) / torch.maximum(vector_norm(before, dim=1), memory.least)
        # Non-finite values sort last, where a median would not see them; 0 times them is NaN.
        reading: Tensor = ratios.mean() if self.statistic == "mean" else ratios.sort().values @ memory.middle
        return reading if memory.shape == 1.0 else reading / memory.shape

    def save(self, memory: _Sample) -> int:
        """Return how many tensors the sample was drawn from: groups added later are not in it."""
        return memory.count

    def load(self, plant: Plant, memory: _Sample, saved: int) -> None:
        """Draw the same sample again."""
        if saved != memory.count:
            vars(memory).update(vars(self._sample(plant, saved)))

    def _sample(self, plant: Plant, count: int) -> _Sample:
        # The clock's parameters come first in `plant.parameters()`.
        eligible = {
            i: local(p).numel()
            for i, p in enumerate(_clocked(plant)[:count])
            if p.requires_grad and p.numel() and (self.vectors or p.ndim >= 2)
        }
        if not eligible:
            kind = "tensors" if self.vectors else "matrices"
            msg = (
                f"UpdateRatio must find trainable {kind} in the optimizer; got none. Set vectors=True or drop the loop."
            )
            raise AttachError(msg)
        # A rank's shard may be empty.
        sizes = {i: size for i, size in eligible.items() if size}
        generator = torch.Generator().manual_seed(self.seed)
        places = list(sizes)
        drawn = torch.randperm(len(places), generator=generator, device="cpu")
        chosen = sorted(places[i] for i in drawn[: self.tensors].tolist())
        width = min(self.elements, max((sizes[i] for i in chosen), default=0))
        indices = torch.zeros(len(chosen), width, dtype=torch.int64, device="cpu")
        for row, i in enumerate(chosen):
            elements = _draw(sizes[i], width, generator)
            indices[row, : len(elements)] = elements
        return _Sample(count, chosen, indices.to(plant.device), [min(sizes[i], width) for i in chosen], self.floor)


class ProposedUpdateRatio(UpdateRatio):
    """Measures what `UpdateRatio` would without a limit on the update: the optimizer's own step, before it is cut.

    A loop that steers the rate behind an `UpdateLimit` needs it: what the limit lets through says nothing of how far
    the rate is off.
    """

    phase: ClassVar[Phase] = "proposals"


def _clocked(plant: Plant) -> list[Tensor]:
    return [p for group in plant.optimizers[0].param_groups for p in group["params"]]


def _draw(size: int, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` random places out of `size`; all places where there are no more."""
    if size <= count:
        return torch.arange(size, device="cpu")
    # Repeats are rare in a large tensor and cost a little precision only; a permutation of it costs its size.
    if size > 64 * count:
        return torch.randint(size, (count,), generator=generator, device="cpu")
    return torch.randperm(size, generator=generator, device="cpu")[:count]
