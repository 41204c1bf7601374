"""A pull of matrices back to orthogonality after each step."""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator

from homeostat.actuators.actuator import Actuator
from homeostat.errors import AttachError
from homeostat.norms import gathered, local, share_of
from homeostat.plant import Plant


class _Strength:
    """The knob, the matrices' names, and those that the step under way moves."""

    def __init__(self, value: float, names: list[str]) -> None:
        self.value = value
        self.names = names
        self.moving: list[str] = []


class RotationRetraction(Actuator):
    """Pulls matrices towards the nearest orthogonal one after every step, by Newton-Schulz iterations.

    R <- R (I + s/2 (I - R^T R)) with strength s in [0, 1], on every matrix of the matching parameters, shape
    (..., m, d) with m >= d. A singular value 1 + e becomes 1 + (1 - s) e to first order; at s = 1 each iteration
    squares the drift. It converges for singular values below sqrt(3), so it is for keeping, not for making,
    orthogonality. At 0 nothing is touched. The optimizer's moments are left alone. A sharded matrix is gathered, by one
    collective a step.

    Attributes:
        parameters: glob of the parameters' qualified names.
        start: strength to begin with.
        iterations: in each step; one keeps up with small steps, two with those of a large learning rate.

    Raises:
        AttachError: no parameter matches, or one that does has fewer rows than columns.
        pydantic.ValidationError: limits or start outside of [0, 1], or no iteration.
    """

    low: float = 0.0
    high: float = 1.0
    parameters: str
    start: float = 0.0
    iterations: int = Field(1, ge=1)

    transient: ClassVar[bool] = True
    # After the step: behind UpdateLimit, which judges what the optimizer did.
    order: ClassVar[int] = 5

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low < 0 or self.high > 1 or not self.low <= self.start <= self.high:
            msg = (
                f"RotationRetraction must have 0 <= low <= start <= high <= 1; got low={self.low:g}, "
                f"start={self.start:g}, high={self.high:g}. Move them inside."
            )
            raise ValueError(msg)
        return self

    def init(self, plant: Plant) -> _Strength:
        """Check the shapes; the knob begins at `start`."""
        found = plant.named_parameters(self.parameters)
        for name, parameter in found.items():
            if parameter.ndim < 2 or parameter.shape[-2] < parameter.shape[-1]:
                msg = (
                    f"RotationRetraction.parameters must match matrices that are not wider than high; got "
                    f"{name} of shape {tuple(parameter.shape)}. Narrow the glob."
                )
                raise AttachError(msg)
        return _Strength(self.start, list(found))

    def targets(self, plant: Plant) -> frozenset[str]:
        """Name the matrices."""
        return frozenset(f"{name}: retraction" for name in plant.named_parameters(self.parameters))

    def read(self, plant: Plant, memory: _Strength) -> float:
        """Return the strength."""
        del plant
        return memory.value

    def write(self, plant: Plant, memory: _Strength, value: float) -> float:
        """Set the strength of the next steps."""
        del plant
        memory.value = value
        return value

    def before_step(self, plant: Plant, memory: _Strength) -> None:
        """Note which matrices the step will move: others are pulled in the step of their own optimizer."""
        memory.moving = []
        if memory.value:
            memory.moving = [name for name in memory.names if plant.moves(plant.model.get_parameter(name))]

    @torch.no_grad()
    def after_step(self, plant: Plant, memory: _Strength) -> None:
        """Pull, once a step."""
        moving, memory.moving = memory.moving, []
        for name in moving:
            parameter = plant.model.get_parameter(name)
            # A product needs all rows and columns; a rank then moves those it has.
            R = gathered(parameter)
            eye = torch.eye(R.shape[-1], dtype=R.dtype, device=R.device)
            for _ in range(self.iterations):
                R = torch.add(R, R @ (eye - R.mT @ R), alpha=memory.value / 2)
            local(parameter).copy_(share_of(R, parameter))
