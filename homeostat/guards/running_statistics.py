"""What a forward pass writes into a model: the running statistics of batch normalisation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


class RunningStatistics:
    """Copies of the running means and variances as they were after the last step.

    A forward pass writes them before anybody can know that its batch is bad, so that a step that is not taken must
    take them back too.

    Args:
        modules: of the model; those without running statistics are passed over.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._modules = [m for m in modules if isinstance(m, _NormBase) and m.track_running_stats]
        self._known: list[Tensor] = []
        self._addresses: list[int] = []
        self._copies: list[_Alike] = []

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._modules)

    def keep(self) -> None:
        """Copy them as they are now."""
        live = self._live()
        addresses = list(map(id, live))
        if addresses != self._addresses:
            self._known, self._addresses, self._copies = live, addresses, _alike(live)
        for part in self._copies:
            torch.cat(part.rows, out=part.copy)

    def put_back(self) -> None:
        """Make them what they were."""
        live = self._live()
        if len(live) == len(self._known):
            for part in self._copies:
                saved = torch.split(part.copy, [len(row) for row in part.rows])
                torch._foreach_copy_([live[i].view(-1) for i in part.places], list(saved))

    def _live(self) -> list[Tensor]:
        # Looked up at each use: `.to` replaces buffers.
        return [b for m in self._modules for b in m._buffers.values() if b is not None]


class _Alike(NamedTuple):
    """Statistics of one type on one device, which one call copies: a call for each would cost as much as all else here.

    Attributes:
        places: among all.
        rows: the live ones, with a dimension.
        copy: of all of them, one behind the other.
    """

    places: list[int]
    rows: list[Tensor]
    copy: Tensor


def _alike(live: list[Tensor]) -> list[_Alike]:
    places = defaultdict[Any, list[int]](list)
    for i, tensor in enumerate(live):
        places[tensor.dtype, tensor.device].append(i)
    rows = {key: [live[i].view(-1) for i in found] for key, found in places.items()}
    return [_Alike(found, rows[key], torch.cat(rows[key])) for key, found in places.items()]
