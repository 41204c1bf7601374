"""The base of actuators that turn `homeostat.nn.Dial` modules, and the one for any dial."""

from __future__ import annotations

from abc import abstractmethod
from typing import Self, cast

from pydantic import model_validator

from homeostat import nn
from homeostat.actuators.actuator import Actuator
from homeostat.errors import AttachError
from homeostat.plant import Plant
from homeostat.watch import start_watching, stop_watching


class _Found:
    """The dials' names, and whether their reads are being counted."""

    def __init__(self, names: list[str], watching: bool) -> None:
        self.names = names
        self.watching = watching

    def dials(self, plant: Plant) -> dict[str, nn.Dial]:
        return {name: cast("nn.Dial", plant.model.get_submodule(name)) for name in self.names}


class DialActuator(Actuator):
    """Sets every dial whose name matches a glob to one value.

    Dials are looked up by name at each use, because `load_state_dict(assign=True)` and copies replace them. They
    must agree when the controller attaches: one knob has one value, and gives it back.

    Attributes:
        dials: glob of the dials' qualified names.

    Raises:
        AttachError: no dial matches, or those that do differ in value or type.
        pydantic.ValidationError: `low` is below `floor`.
    """

    dials: str

    @property
    @abstractmethod
    def floor(self) -> float:
        """Least value that has a meaning for this quantity."""

    @model_validator(mode="after")
    def _check_floor(self) -> Self:
        if self.low < self.floor:
            name = type(self).__name__
            msg = f"{name}.low must be at least {self.floor:g}; got {self.low:g}. Raise it: less has no meaning."
            raise ValueError(msg)
        return self

    def fitted(self, plant: Plant) -> Self:
        """Narrow the limits to the ranges of the dials."""
        found = plant.modules(self.dials, nn.Dial).values()
        low = max(self.low, *(dial.low for dial in found))
        high = min(self.high, *(dial.high for dial in found))
        if low >= high:
            msg = (
                f"{type(self).__name__} must have limits that its dials can reach; got [{self.low:g}, {self.high:g}] "
                f"for dials under {self.dials!r} that leave [{low:g}, {high:g}]. Move the limits."
            )
            raise AttachError(msg)
        return self.model_copy(update={"low": low, "high": high})

    def init(self, plant: Plant) -> _Found:
        """Check that the dials agree, and count their reads from now on."""
        found = plant.modules(self.dials, nn.Dial)
        states = {name: (dial.peek(), dial.integer) for name, dial in found.items()}
        if len(set(states.values())) > 1:
            shown = ", ".join(f"{name}={dial.peek():g}" for name, dial in list(found.items())[:8])
            msg = f"Dials under {self.dials!r} must agree; got {shown}. Narrow the glob or start them equal."
            raise AttachError(msg)
        return _Found(list(found), start_watching(plant, found.values()))

    def targets(self, plant: Plant) -> frozenset[str]:
        """Name the dials."""
        return frozenset(plant.modules(self.dials, nn.Dial))

    def read(self, plant: Plant, memory: _Found) -> float:
        """Return the dials' value."""
        return next(iter(memory.dials(plant).values())).peek()

    def write(self, plant: Plant, memory: _Found, value: float) -> float:
        """Turn the dials; returns the value after rounding to their type."""
        return [dial.set(value) for dial in memory.dials(plant).values()][-1]

    def unread(self, plant: Plant, memory: _Found) -> tuple[str, ...]:
        """Name the dials no forward pass has read, and stop counting."""
        if not memory.watching:
            return ()
        memory.watching = False
        return stop_watching(memory.dials(plant))

    def release(self, plant: Plant, memory: _Found) -> None:
        """Stop counting."""
        self.unread(plant, memory)


class Dial(DialActuator):
    """Turns any dial a model offers."""

    @property
    def floor(self) -> float:
        """Any value may have a meaning."""
        return float("-inf")
