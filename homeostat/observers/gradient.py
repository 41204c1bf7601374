"""The size of the gradient."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from homeostat.errors import AttachError
from homeostat.norms import gradient_norm
from homeostat.observers.observer import Observer, Phase
from homeostat.plant import Plant


class GradientNorm(Observer):
    """Measures the 2-norm of the gradient the optimizer is about to use, on this rank, before any `ClipNorm`.

    A clip of the user's own has already acted. A gradient scale is divided out. One foreach pass, shared with
    `ClipNorm`; sparse gradients count with their repeated indices joined.

    Attributes:
        group: number of the parameter group (counted through all optimizers, at attach); None for all parameters.
        log: read the natural logarithm, for a gain that is relative.

    Raises:
        AttachError: there is no such group.
    """

    phase: ClassVar[Phase] = "gradients"

    group: int | None = Field(default=None, ge=0)
    log: bool = False

    def init(self, plant: Plant) -> tuple[int, int] | None:
        """Find the group."""
        places = plant.places()
        if self.group is not None and self.group >= len(places):
            msg = f"GradientNorm.group must be below the number of groups, {len(places)}; got {self.group}. Lower it."
            raise AttachError(msg)
        return None if self.group is None else places[self.group]

    def observe(self, plant: Plant, memory: tuple[int, int] | None) -> Tensor | None:
        """Return the norm, or None where no parameter has a gradient."""
        norm = gradient_norm(plant, memory)
        return norm.log() if norm is not None and self.log else norm
