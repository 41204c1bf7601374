"""The size of the gradient."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from homeostat.errors import AttachError
from homeostat.norms import gradient_norm, unscaled_norm
from homeostat.observers.observer import Observer, Phase
from homeostat.plant import Plant


class GradientNorm(Observer):
    """Measures the 2-norm of the gradient the optimizer is about to use, on this rank, before any `ClipNorm`.

    A clip of the user's own has already acted. A gradient scale is divided out. One foreach pass, shared with
    `ClipNorm`; sparse gradients count with their repeated indices joined.

    Attributes:
        group: number of the parameter group (counted through all optimizers); None for all parameters.
        log: read the natural logarithm, for a gain that is relative.

    Raises:
        AttachError: there is no such group.
    """

    phase: ClassVar[Phase] = "gradients"

    group: int | None = Field(default=None, ge=0)
    log: bool = False

    def init(self, plant: Plant) -> None:
        """Check that the group exists."""
        count = len(list(plant.groups))
        if self.group is not None and self.group >= count:
            msg = f"GradientNorm.group must be below the number of groups, {count}; got {self.group}. Lower it."
            raise AttachError(msg)

    def observe(self, plant: Plant, memory: None) -> Tensor | None:
        """Return the norm, or None where no parameter has a gradient."""
        del memory
        if self.group is None:
            norm = gradient_norm(plant)
        else:
            parameters = list(plant.groups)[self.group]["params"]
            norm = unscaled_norm(plant, [p.grad for p in parameters if p.grad is not None])
        return norm.log() if norm is not None and self.log else norm
