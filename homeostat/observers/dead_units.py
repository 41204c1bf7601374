"""How many units of a layer are silent."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from homeostat.closing import Closing
from homeostat.errors import AttachError
from homeostat.norms import gathered
from homeostat.observers.observer import Observer, Phase
from homeostat.plant import Plant
from homeostat.watch import is_compiled

KINDS = (nn.ReLU, nn.ReLU6, nn.Threshold)
# Readings in a row without a call after which it is said.
PATIENCE = 10


class _Ear:
    """A hook on a module, which stays: a compiler takes the hooks that it finds, and sees none that come later.

    It hears one pass after it was told to. Only the first call counts, so that neither a second micro-batch nor
    recomputation is measured besides.
    """

    def __init__(self) -> None:
        self.due = False
        self.dead: Tensor | None = None
        self.units = 0
        self.module: nn.Module | None = None
        self.hook: RemovableHandle | None = None

    def __reduce__(self) -> tuple[type[_Ear], tuple[()]]:
        # That of a copied or saved model is nobody's.
        return _Ear, ()

    def __call__(self, module: nn.Module, _: Any, output: Tensor) -> None:
        # Without gradients it is an evaluation, or checkpointing, which computes it again with them.
        if self.due and module.training and torch.is_grad_enabled() and output.numel():
            self.due = False
            units = 1 if output.ndim >= 4 else output.ndim - 1
            alive = (output.detach() > 0).transpose(0, units).flatten(1).any(1)
            self.dead, self.units = gathered((~alive).sum()), len(alive)

    def listen(self, module: nn.Module) -> None:
        if self.module is not module:
            self.close()
            self.module, self.hook = module, module.register_forward_hook(self)
        self.due, self.dead = True, None

    def close(self) -> None:
        if self.hook is not None:
            self.hook.remove()
        self.module = self.hook = None


class _Ears:
    """One for each module, by its name."""

    def __init__(self, names: list[str]) -> None:
        self.by_name = {name: _Ear() for name in names}
        self.unheard = 0

    def close(self) -> None:
        for ear in self.by_name.values():
            ear.close()


class DeadUnits(Observer):
    """Measures the share of rectified units that are zero for the whole batch, in the first training pass of a tick.

    A unit is a channel (dimension 1) of an output of four dimensions or more, else a place in its last dimension. One
    that is never positive gets no gradient; a share that rises and stays tells of a step that was far too large.

    A model may be compiled after `attach`, as a whole or in place: it is then compiled twice, with a measurement and
    without. An alarm tells where none of the modules is heard. A copy of the model, or one that is saved whole, keeps
    hooks that do nothing.

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
                "Attach first and compile then, or drop the guard."
            )
            raise AttachError(msg)
        return _Ears(names)

    def attach(self, plant: Plant, memory: _Ears) -> tuple[RemovableHandle, ...]:
        """Promise to take the hooks off."""
        del plant
        return (Closing(memory.close),)

    def prepare(self, plant: Plant, memory: _Ears) -> None:
        """Listen to the next forward pass."""
        for name, ear in memory.by_name.items():
            ear.listen(plant.model.get_submodule(name))

    def observe(self, plant: Plant, memory: _Ears) -> Tensor | None:
        """Return what was heard, or None if no such module was called."""
        ears = memory.by_name.values()
        heard = [(ear.dead.to(plant.device), ear.units) for ear in ears if ear.dead is not None]
        for ear in ears:
            ear.due, ear.dead = False, None
        memory.unheard = 0 if heard else memory.unheard + 1
        return torch.stack([dead for dead, _ in heard]).sum() / sum(units for _, units in heard) if heard else None

    def missing(self, memory: _Ears) -> str:
        """Say, once, that nothing is heard."""
        if memory.unheard != PATIENCE:
            return ""
        return (
            f"DeadUnits must hear its modules in training; got no call of {', '.join(memory.by_name)} in {PATIENCE} "
            "readings. If the model was compiled before attach, call torch.compiler.reset(); else choose `modules` "
            "that are called in train mode."
        )
