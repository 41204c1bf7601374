"""How many units of a layer are silent."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from homeostat.errors import AttachError
from homeostat.norms import gathered
from homeostat.observers.observer import Observer, Phase
from homeostat.plant import Plant
from homeostat.watch import is_compiled

KINDS = (nn.ReLU, nn.ReLU6, nn.Threshold)


class _Ears:
    """Hooks on modules for the next forward pass, and what they heard of it."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.hooks: list[RemovableHandle] = []
        # By module: how many units are dead, and how many there are. Only the first call counts, so that neither a
        # second micro-batch nor recomputation is measured besides.
        self.heard: dict[str, tuple[Tensor, int]] = {}

    def close(self) -> None:
        while self.hooks:
            self.hooks.pop().remove()


class _Close(RemovableHandle):
    """Takes the hooks off when the controller detaches."""

    def __init__(self, close: Callable[[], None]) -> None:
        super().__init__(OrderedDict())
        self._close = close

    def remove(self) -> None:
        self._close()


class DeadUnits(Observer):
    """Measures the share of rectified units that are zero for the whole batch, in the first training pass of a tick.

    A unit is a channel (dimension 1) of an output of four dimensions or more, else a place in its last dimension. One
    that is never positive gets no gradient; a share that rises and stays tells of a step that was far too large.

    Attributes:
        modules: glob of the qualified names of `ReLU`, `ReLU6` and `Threshold` modules.

    Raises:
        AttachError: none matches, or the model is compiled already, where a new hook is never called.
    """

    phase: ClassVar[Phase] = "activations"

    modules: str = "*"

    def init(self, plant: Plant) -> _Ears:
        """Find the modules."""
        names = list(plant.modules(self.modules, *KINDS, what="rectifier module"))
        if any(map(is_compiled, plant.model.modules())):
            msg = (
                "DeadUnits must be attached to a model that is not compiled; got a compiled one. "
                "Attach first, or drop the guard."
            )
            raise AttachError(msg)
        return _Ears(names)

    def attach(self, plant: Plant, memory: _Ears) -> tuple[RemovableHandle, ...]:
        """Promise to take the hooks off."""
        del plant
        return (_Close(memory.close),)

    def prepare(self, plant: Plant, memory: _Ears) -> None:
        """Listen to the next forward pass."""
        memory.close()
        memory.heard.clear()
        for name in memory.names:
            module = plant.model.get_submodule(name)
            memory.hooks.append(module.register_forward_hook(_listener(memory, name)))

    def observe(self, plant: Plant, memory: _Ears) -> Tensor | None:
        """Return what was heard, or None if no such module was called."""
        memory.close()
        heard = list(memory.heard.values())
        if not heard:
            return None
        dead = torch.stack([count.to(plant.device) for count, _ in heard]).sum()
        return dead / sum(units for _, units in heard)


def _listener(ears: _Ears, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
    def listen(module: nn.Module, _: Any, output: Tensor) -> None:
        if module.training and name not in ears.heard and output.numel():
            units = 1 if output.ndim >= 4 else output.ndim - 1
            alive = (output.detach() > 0).transpose(0, units).flatten(1).any(1)
            ears.heard[name] = gathered((~alive).sum()), len(alive)

    return listen
