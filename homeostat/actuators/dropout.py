"""The rate of dropout."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator
from torch.nn import Module
from torch.nn.modules.dropout import _DropoutNd

from homeostat import nn
from homeostat.actuators.actuator import Actuator
from homeostat.errors import AttachError
from homeostat.plant import Plant
from homeostat.watch import start_watching, stop_watching


class _Rates:
    """The rates found, by module; the greatest of them; and whether reads are counted."""

    def __init__(self, found: dict[str, float], watching: bool) -> None:
        self.found = found
        self.greatest = max(found.values())
        self.watching = watching


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
        rates = {name: m.rate.peek() if isinstance(m, nn.Dropout) else m.p for name, m in found.items()}
        return _Rates(rates, start_watching(plant, self._dials(plant).values()))

    def targets(self, plant: Plant) -> frozenset[str]:
        """Name the rates: dials by their own name, so that no other actuator turns them."""
        return frozenset(
            f"{n}.rate" if isinstance(m, nn.Dropout) else f"{n}.p" for n, m in self._modules(plant).items()
        )

    def read(self, plant: Plant, memory: _Rates) -> float:
        """Return the greatest rate."""
        del memory
        return max(m.rate.peek() if isinstance(m, nn.Dropout) else m.p for m in self._modules(plant).values())

    def write(self, plant: Plant, memory: _Rates, value: float) -> float:
        """Set the rates; returns the greatest, after rounding."""
        for name, module in self._modules(plant).items():
            began = memory.found.get(name, memory.greatest)
            rate = value
            if memory.greatest > 0 and value != memory.greatest:
                rate = value * (began / memory.greatest)
            elif memory.greatest > 0:
                rate = began
            if isinstance(module, nn.Dropout):
                module.rate.set(rate)
            else:
                module.p = rate
        return self.read(plant, memory)

    def unread(self, plant: Plant, memory: _Rates) -> tuple[str, ...]:
        """Name the dials no forward pass has read; reads of torch's own modules cannot be told."""
        if not memory.watching:
            return ()
        memory.watching = False
        return stop_watching(self._dials(plant))

    def release(self, plant: Plant, memory: _Rates) -> None:
        """Stop counting."""
        self.unread(plant, memory)

    def _modules(self, plant: Plant) -> dict[str, nn.Dropout | _DropoutNd]:
        matching = plant.modules(self.modules, Module)
        found = {n: m for n, m in matching.items() if isinstance(m, (nn.Dropout, _DropoutNd))}
        if not found:
            msg = (
                f"{self.modules!r} must match a dropout module of {type(plant.model).__name__}; got no match. "
                "Use homeostat.nn.Dropout or torch.nn.Dropout in the model, or drop the loop."
            )
            raise AttachError(msg)
        return found

    def _dials(self, plant: Plant) -> dict[str, nn.Dial]:
        return {f"{n}.rate": m.rate for n, m in self._modules(plant).items() if isinstance(m, nn.Dropout)}
