"""What a forward pass writes into a model: the running statistics of batch normalisation."""

from __future__ import annotations

from collections.abc import Iterable

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
        self._copies: list[Tensor] = []

    def keep(self) -> None:
        """Copy them as they are now."""
        if not self._modules:
            return
        live = self._live()
        if len(live) != len(self._known) or any(a is not b for a, b in zip(live, self._known, strict=True)):
            self._known, self._copies = live, [torch.empty_like(t) for t in live]
        torch._foreach_copy_(self._copies, live)

    def put_back(self) -> None:
        """Make them what they were."""
        live = self._live()
        if self._copies and len(live) == len(self._copies):
            torch._foreach_copy_(live, self._copies)

    def _live(self) -> list[Tensor]:
        # Looked up at each use: `.to` replaces buffers.
        return [b for m in self._modules for b in m._buffers.values() if b is not None]
