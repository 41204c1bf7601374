"""The base of actuators that turn `homeostat.nn.Dial` modules, and the one for any dial."""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

from pydantic import model_validator

from homeostat import nn
from homeostat.actuators.actuator import Actuator
from homeostat.errors import AttachError
from homeostat.plant import Plant
from homeostat.watch import start_watching, stop_watching


class _Found:
    """Whether the dials' reads are being counted."""

    def __init__(self, watching: bool) -> None:
        self.watching = watching


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

    def init(self, plant: Plant) -> _Found:
        """Check that the dials agree, and count their reads from now on."""
        found = self._dials(plant)
        states = {name: (dial.peek(), dial.integer) for name, dial in found.items()}
        if len(set(states.values())) > 1:
            shown = ", ".join(f"{name}={dial.peek():g}" for name, dial in list(found.items())[:8])
            msg = f"Dials under {self.dials!r} must agree; got {shown}. Narrow the glob or start them equal."
            raise AttachError(msg)
        return _Found(start_watching(plant, found.values()))

    def targets(self, plant: Plant) -> frozenset[str]:
        """Name the dials."""
        return frozenset(self._dials(plant))

    def read(self, plant: Plant, memory: _Found) -> float:
        """Return the dials' value."""
        del memory
        return next(iter(self._dials(plant).values())).peek()

    def write(self, plant: Plant, memory: _Found, value: float) -> float:
        """Turn the dials; returns the value after rounding to their type."""
        del memory
        return [dial.set(value) for dial in self._dials(plant).values()][-1]

    def unread(self, plant: Plant, memory: _Found) -> tuple[str, ...]:
        """Name the dials no forward pass has read, and stop counting."""
        if not memory.watching:
            return ()
        memory.watching = False
        return stop_watching(self._dials(plant))

    def release(self, plant: Plant, memory: _Found) -> None:
        """Stop counting."""
        self.unread(plant, memory)

    def _dials(self, plant: Plant) -> dict[str, nn.Dial]:
        return plant.modules(self.dials, nn.Dial)


class Dial(DialActuator):
    """Turns any dial a model offers."""

    @property
    def floor(self) -> float:
        """Any value may have a meaning."""
        return float("-inf")
