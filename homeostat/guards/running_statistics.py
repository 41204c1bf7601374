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
        # Where each stands, and what stood there when the copies were laid out.
        self._known: list[tuple[dict[str, Tensor | None], str, Tensor]] = []
        self._copies: list[_Alike] = []

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._modules)

    def keep(self) -> None:
        """Copy them as they are now."""
        if not self._known:
            self._lay_out()
        # `.to` replaces buffers. Asked in every step: half the time of making a list of them.
        for buffers, name, tensor in self._known:
            if buffers.get(name) is not tensor:
                self._lay_out()
                break
        for part in self._copies:
            torch.cat(part.rows, out=part.copy)

    def put_back(self) -> None:
        """Make them what they were."""
        live = [tensor for _, _, tensor in self._find()]
        if len(live) == len(self._known):
            for part in self._copies:
                saved = torch.split(part.copy, [len(row) for row in part.rows])
                torch._foreach_copy_([live[i].view(-1) for i in part.places], list(saved))

    def forget(self) -> None:
        """Have no copies, until the next `keep`."""
        self._known, self._copies = [], []

    def _find(self) -> list[tuple[dict[str, Tensor | None], str, Tensor]]:
        return [(m._buffers, name, b) for m in self._modules for name, b in m._buffers.items() if b is not None]

    def _lay_out(self) -> None:
        self._known = self._find()
        self._copies = _alike([tensor for _, _, tensor in self._known])


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
