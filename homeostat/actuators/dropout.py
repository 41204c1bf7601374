"""The rate of dropout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self, cast

from pydantic import model_validator
from torch.nn import Module
from torch.nn.modules.dropout import _DropoutNd

from homeostat import nn
from homeostat.actuators.actuator import Actuator
from homeostat.plant import Plant
from homeostat.watch import start_watching, stop_watching


class _Rates:
    """The rates found, by module; the greatest of them; and whether reads are counted."""

    def __init__(self, found: dict[str, float], watching: bool) -> None:
        self.found = found
        self._paths = {name: name.split(".") if name else [] for name in found}
        self.greatest = max(found.values())
        self.watching = watching

    def modules(self, plant: Plant) -> dict[str, Module]:
        return {name: _submodule(plant.model, path) for name, path in self._paths.items()}

    def share(self, name: str, value: float) -> float:
        """Return the rate of one module where the greatest is `value`."""
        if self.greatest == 0:
            return value
        # What was found is given back exactly.
        return self.found[name] if value == self.greatest else value * (self.found[name] / self.greatest)


class Dropout(Actuator):
    """Sets the rate of `homeostat.nn.Dropout` and of torch's dropout modules.

    The knob is the greatest rate; modules that began with a smaller one keep their share of it, and one that
    began at 0 stays off unless all did. Moving torch's own modules makes `torch.compile` compile anew each time;
    `homeostat.nn.Dropout` does not. Rates that are no modules (of `nn.LSTM`, `nn.MultiheadAttention`) are not
    reached.

    Attributes:
        modules: glob of the modules' qualified names.

    Raises:
        AttachError: no dropout module matches.
        pydantic.ValidationError: limits outside of [0, 1).
    """

    low: float = 0.0
    high: float = 0.5
    modules: str = "*"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low < 0 or self.high >= 1:
            msg = f"Dropout limits must lie in [0, 1); got {self.low:g}..{self.high:g}. Move them inside."
            raise ValueError(msg)
        return self

    def init(self, plant: Plant) -> _Rates:
        """Note the rates found, and count reads of the dials among them."""
        found = self._modules(plant)
        return _Rates({n: _rate(m) for n, m in found.items()}, start_watching(plant, _dials(found).values()))

    def targets(self, plant: Plant) -> frozenset[str]:
        """Name the rates: dials by their own name, so that no other actuator turns them."""
        found = self._modules(plant)
        return frozenset([*_dials(found), *(f"{n}.p" for n, m in found.items() if not isinstance(m, nn.Dropout))])

    def read(self, plant: Plant, memory: _Rates) -> float:
        """Return the greatest rate."""
        return max(_rate(module) for module in memory.modules(plant).values())

    def write(self, plant: Plant, memory: _Rates, value: float) -> float:
        """Set the rates; returns the greatest, after rounding."""
        for name, module in memory.modules(plant).items():
            rate = memory.share(name, value)
            if isinstance(module, nn.Dropout):
                module.rate.set(rate)
            else:
                cast("_DropoutNd", module).p = rate
        return self.read(plant, memory)

    def unread(self, plant: Plant, memory: _Rates) -> tuple[str, ...]:
        """Name the dials no forward pass has read; reads of torch's own modules cannot be told."""
        if not memory.watching:
            return ()
        memory.watching = False
        return stop_watching(_dials(memory.modules(plant)))

    def release(self, plant: Plant, memory: _Rates) -> None:
        """Stop counting."""
        self.unread(plant, memory)

    def _modules(self, plant: Plant) -> dict[str, Module]:
        return plant.modules(self.modules, nn.Dropout, _DropoutNd, what="dropout module")


def _submodule(model: Module, path: list[str]) -> Module:
    """Return what `get_submodule` does, past `nn.Module`'s own look-up, which takes ten times as long."""
    found = model
    for name in path:
        inner = found._modules.get(name)
        if inner is None:
            return model.get_submodule(".".join(path))
        found = inner
    return found


def _rate(module: Module) -> float:
    return module.rate.peek() if isinstance(module, nn.Dropout) else cast("_DropoutNd", module).p


def _dials(modules: Mapping[str, Module]) -> dict[str, nn.Dial]:
    return {f"{name}.rate": module.rate for name, module in modules.items() if isinstance(module, nn.Dropout)}
