"""Sizes of lists of tensors, in one foreach pass and without a host synchronisation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from homeostat.landing import on_host
from homeostat.plant import Plant

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def each_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the 2-norm of every tensor, shape (len(tensors),), in float32 or float64.

    Half-precision tensors are summed in float32: their squares overflow at 65504. A `DTensor`'s norm is that of the
    whole, and equal on every rank: the shards' norms are joined by one collective for all that are laid out alike.
    """
    dtypes = {t.dtype for t in tensors}
    if {t.layout for t in tensors} != {torch.strided} or any(dtype.is_complex for dtype in dtypes):
        tensors = [_dense(t) for t in tensors]
    wide = torch.float64 if dtypes & {torch.float64, torch.complex128} else torch.float32
    if any(map(is_sharded, tensors)):
        return _whole(tensors, wide)
    norms = list(torch._foreach_norm(list(tensors), 2, dtype=wide))
    if len({n.device for n in norms}) > 1:
        norms = [n.to(norms[0].device) for n in norms]
    return torch.stack(norms)


def gradient_norm(plant: Plant, place: tuple[int, int] | None = None) -> Tensor | None:
    """Return the joint 2-norm of all gradients, unscaled, computed once a tick; None where there is no gradient.

    It is the norm of this rank's gradients (of the whole ones, where they are sharded) as the optimizer finds them:
    after the user's own clipping.

    Args:
        plant: whose gradients.
        place: optimizer and group within it, for those of one group.
    """
    return plant.cached(f"gradient norm {place}", lambda: _unscaled_norm(plant, place))


def _unscaled_norm(plant: Plant, place: tuple[int, int] | None) -> Tensor | None:
    groups = plant.groups if place is None else [plant.optimizers[place[0]].param_groups[place[1]]]
    gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
    if not gradients:
        return None
    norms = each_norm(gradients)
    if any(scale is not None for scale in plant.scales):
        norms = norms / _scales(plant, place, norms)
    joint: Tensor = torch.linalg.vector_norm(norms)
    return joint


def _scales(plant: Plant, place: tuple[int, int] | None, norms: Tensor) -> Tensor:
    """Return what each gradient is multiplied by, in the order in which `_unscaled_norm` takes them."""
    one = torch.ones_like(norms[0])
    scales: list[Tensor] = []
    for (i, j), group in zip(plant.places(), plant.groups, strict=True):
        if place in {None, (i, j)}:
            known = plant.scales[i]
            scale = one if known is None else known.to(one).reshape(())
            scales += [scale for p in group["params"] if p.grad is not None]
    return torch.stack(scales)


def is_sharded(tensor: Tensor) -> bool:
    """Whether `tensor` is a `DTensor`, whose class is imported only where somebody makes one."""
    return type(tensor).__name__ == "DTensor"


def local(tensor: Tensor) -> Tensor:
    """Return this rank's shard of a `DTensor`, and any other tensor itself."""
    return cast("DTensor", tensor).to_local() if is_sharded(tensor) else tensor


def part_of(shard: Tensor, whole: Tensor) -> Tensor:
    """Return `shard` as this rank's part of a tensor laid out like `whole`, the inverse of `local`."""
    if not is_sharded(whole):
        return shard
    like = cast("DTensor", whole)
    layout = (like.device_mesh, like.placements)
    return type(like).from_local(shard, *layout, run_check=False, shape=like.shape, stride=like.stride())


def gathered(tensor: Tensor) -> Tensor:
    """Return the whole of a `DTensor`, by a collective, and any other tensor itself."""
    return cast("DTensor", tensor).full_tensor() if is_sharded(tensor) else tensor


def share_of(whole: Tensor, like: Tensor) -> Tensor:
    """Return this rank's shard of a tensor that every rank has, cut as `like` is; the inverse of `gathered`."""
    if not is_sharded(like):
        return whole
    from torch.distributed.tensor import DTensor, Replicate  # noqa: PLC0415 - slow to import, for those who need it

    mesh, placements = cast("DTensor", like).device_mesh, cast("DTensor", like).placements
    everywhere = DTensor.from_local(whole, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return everywhere.redistribute(mesh, placements).to_local()


def _whole(tensors: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Return the norms of whole tensors, some of them sharded."""
    norms = list(tensors)
    # One foreach call takes tensors of one mesh, or such as are on none.
    for places in _alike(tensors, lambda tensor: tensor.device_mesh):
        found = torch._foreach_norm([tensors[i] for i in places], 2, dtype=dtype)
        for i, norm in zip(places, found, strict=True):
            norms[i] = norm
    for places in _alike(norms, lambda norm: (norm.device_mesh, norm.placements)):
        stacked = torch.stack([norms[i] for i in places])
        for i, norm in zip(places, gathered(stacked).unbind(), strict=True):
            norms[i] = norm
    return torch.stack(norms)


def _alike(tensors: Sequence[Tensor], layout: Callable[[DTensor], Hashable]) -> list[list[int]]:
    """Return the places of the tensors of each layout; those that are not sharded are alike."""
    places: defaultdict[Hashable, list[int]] = defaultdict(list)
    for i, tensor in enumerate(tensors):
        places[layout(cast("DTensor", tensor)) if is_sharded(tensor) else None].append(i)
    return list(places.values())


def at_hand(values: Tensor) -> list[Any] | None:
    """Return `values` where they are known without waiting, on the CPU; None elsewhere."""
    return values.flatten().tolist() if on_host(values) else None


def _dense(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    if tensor.is_sparse:
        # Repeated indices add up, so they must be joined before they are squared.
        tensor = tensor.coalesce().values()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor
