"""Sizes of lists of tensors, in one foreach pass and without a host synchronisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from homeostat.plant import Plant


def each_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the 2-norm of every tensor, shape (len(tensors),), in float32 or float64.

    Half-precision tensors are summed in float32: their squares overflow at 65504.
    """
    wide = torch.float64 if any(t.dtype in {torch.float64, torch.complex128} for t in tensors) else torch.float32
    norms = torch._foreach_norm([_dense(t) for t in tensors], 2, dtype=wide)
    return torch.stack([n.to(norms[0].device) for n in norms])


def gradient_norm(plant: Plant) -> Tensor | None:
    """Return the 2-norm of all gradients, unscaled, computed once a tick; None where there is no gradient.

    It is the norm of this rank's gradients as the optimizer finds them: after the user's own clipping.
    """
    return plant.cached("gradient_norm", lambda: unscaled_norm(plant, plant.gradients()))


def unscaled_norm(plant: Plant, gradients: Sequence[Tensor]) -> Tensor | None:
    """Return the joint 2-norm of `gradients` divided by the step's gradient scale; None for no gradients."""
    if not gradients:
        return None
    norm: Tensor = torch.linalg.vector_norm(each_norm(gradients))
    if plant.grad_scale is not None:
        norm = norm / plant.grad_scale.to(norm)
    return norm


def at_hand(values: Tensor) -> list[bool] | None:
    """Return boolean `values` where they are known without waiting, on the CPU; None elsewhere."""
    return values.flatten().tolist() if values.device.type == "cpu" else None


def _dense(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    if tensor.is_sparse:
        # Repeated indices add up, so they must be joined before they are squared.
        tensor = tensor.coalesce().values()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor
