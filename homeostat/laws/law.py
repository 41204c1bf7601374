"""The role of a control law: readings in, commands out, in pure floats."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

from homeostat.part import Part


class Input(NamedTuple):
    """What a law sees at one decision. Every field but `elapsed` has one entry a reading or a command.

    Attributes:
        readings: finite measurements, one an observer.
        setpoints: the wanted readings; NaN-free; empty where the loop has none.
        admitted: where each knob is now, in the actuator's own coordinate: the law's last command after limits,
            slew and arbitration but before quantisation, or the position found in the plant.
        moved: True where `admitted` was *found*, because the loop just started or something else moved the knob.
            A law with memory then continues from there without a bump.
        elapsed: ticks since the last decision, at least 1.
    """

    readings: tuple[float, ...]
    setpoints: tuple[float, ...]
    admitted: tuple[float, ...]
    moved: tuple[bool, ...]
    elapsed: int


class Decision(NamedTuple):
    """What a law answers.

    Attributes:
        command: wanted knob positions, in the actuators' coordinates.
        state: the law's state after this decision.
        terms: what the command is made of (P, I, D, ...), for the record.
    """

    command: tuple[float, ...]
    state: Any
    terms: dict[str, float]


class Law(Part):
    """Decides where knobs go. Never touches a tensor, a model or a clock.

    State is data apart from the law: a (named) tuple of floats, integers, booleans, strings and None, which
    `update` takes and returns. So a law can be saved, resumed, replayed and run in the shadow without code of
    its own. `update` is deterministic and returns finite commands for finite input.

    A scalar law has one reading and one command; `shape` says so, and a multivariable law overrides it.
    """

    needs_setpoint: ClassVar[bool] = False

    @property
    def shape(self) -> tuple[int, int]:
        """Number of readings taken and of commands given."""
        return 1, 1

    @abstractmethod
    def init(self) -> Any:
        """Return the state before the first decision."""

    @abstractmethod
    def update(self, state: Any, given: Input) -> Decision:
        """Decide once."""
