"""How far matrices that should be orthogonal have drifted."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from homeostat.errors import AttachError
from homeostat.norms import gathered
from homeostat.observers.observer import Observer
from homeostat.plant import Plant


class OrthogonalityDrift(Observer):
    """Measures ||R^T R - I||_F / sqrt(d), the greatest (or mean) over all matrices of the matching parameters.

    R has shape (..., m, d): leading dimensions count matrices. A wide one (m < d) cannot have orthonormal columns,
    and its rows are measured instead. 0 means orthogonal; a matrix scaled by 1 + e reads about 2 e.

    Attributes:
        parameters: glob of the parameters' qualified names.
        statistic: over matrices.

    Raises:
        AttachError: no parameter matches, or one that does is no matrix.
    """

    parameters: str
    statistic: Literal["max", "mean"] = "max"

    def init(self, plant: Plant) -> list[str]:
        """Find the matrices' names."""
        found = plant.named_parameters(self.parameters)
        for name, parameter in found.items():
            if parameter.ndim < 2:
                msg = (
                    f"OrthogonalityDrift.parameters must match matrices; got {name} of shape {tuple(parameter.shape)}. "
                    "Narrow the glob."
                )
                raise AttachError(msg)
        return list(found)

    def observe(self, plant: Plant, memory: list[str]) -> Tensor:
        """Return the drift now."""
        found = [plant.model.get_parameter(name) for name in memory]
        drifts = torch.cat([_drift(gathered(parameter.detach())).flatten().to(plant.device) for parameter in found])
        return drifts.max() if self.statistic == "max" else drifts.mean()


def _drift(matrices: Tensor) -> Tensor:
    # Products in half precision would hide a drift below 1e-3.
    R = matrices if matrices.dtype == torch.float64 else matrices.float()
    if R.shape[-2] < R.shape[-1]:
        R = R.mT
    d = R.shape[-1]
    difference = R.mT @ R - torch.eye(d, dtype=R.dtype, device=R.device)
    norm: Tensor = torch.linalg.matrix_norm(difference)
    return norm / math.sqrt(d)
