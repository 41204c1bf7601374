"""Ranks with unequal numbers of batches: one that has run out ticks along, so that the others need not wait for it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import distributed as dist
from torch import nn
from torch.distributed.algorithms.join import Joinable, JoinHook
from torch.nn.parallel import DistributedDataParallel

from homeostat.errors import HomeostatError
from homeostat.plant import Plant


class Joining(Protocol):
    """What is between attach and detach."""

    plant: Plant
    group: dist.ProcessGroup | None
    joined: bool

    def tick_along(self) -> None:
        """Pass a tick without a step."""


class Uneven(Joinable):
    """Takes part in `torch.distributed.algorithms.Join`, after the model: `with Join([model, homeostat]):`.

    A rank that has run out of batches passes a tick for each forward pass of the others that joins gradients: it
    measures nothing, decides with the readings of the others, and moves its knobs as they do. The number of ranks
    that measured divides the readings.
    """

    def __init__(self) -> None:
        super().__init__()

    @abstractmethod
    def _attached(self, what: str) -> Joining: ...

    def join_hook(self, **kwargs: Any) -> JoinHook:
        """Return what `Join` calls on a rank that has run out of batches.

        Raises:
            HomeostatError: not attached.
        """
        del kwargs
        engine = self._attached("join_hook")
        engine.joined = True
        return _TickAlong(engine.plant.model, engine.tick_along)

    @property
    def join_device(self) -> torch.device:
        """Where readings are joined."""
        return self._attached("join_device").plant.device

    @property
    def join_process_group(self) -> dist.ProcessGroup | None:
        """The ranks that readings are joined over.

        Raises:
            HomeostatError: not attached, or first in the list: it is the model that tells `Join` of every batch.
        """
        # `Join` has told each member its place by the time it asks for this.
        if self._join_config.is_first_joinable:
            msg = (
                "A Homeostat must come after its model in a Join; got it first. Write `with Join([model, homeostat]):`."
            )
            raise HomeostatError(msg)
        return self._attached("join_process_group").group


class _TickAlong(JoinHook):
    """Shadows the ticks of the ranks that go on.

    Behind the model in the list, it comes when the model's own hook has learned whether gradients were joined: a
    micro-batch of an accumulation is no tick.
    """

    def __init__(self, model: nn.Module, tick: Callable[[], None]) -> None:
        self._model = model
        self._tick = tick

    def main_hook(self) -> None:
        if getattr(self._model, "require_forward_param_sync", True):
            self._tick()


def refuse_half_joined(model: nn.Module, *, joined: bool) -> None:
    """Refuse to join readings where the model is in a `Join` and the controller is not: the ranks would hang.

    Raises:
        HomeostatError: it is so.
    """
    if not joined and isinstance(model, DistributedDataParallel) and model._join_config.enable:
        msg = (
            "A Homeostat must be in the same Join as its model; got a Join without it. Write `with Join([model, "
            "homeostat]):`, the model first, so that ranks without a batch tick along."
        )
        raise HomeostatError(msg)
