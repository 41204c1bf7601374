"""The role of a control law: readings in, commands out, in pure floats."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

from homeostat.part import Part

LARGEST = 1e100


class Input(NamedTuple):
    """What a law sees at one decision. Every field but the last two has one entry a reading or a command.

    Attributes:
        readings: finite measurements, one an observer.
        setpoints: the wanted readings; NaN-free; empty where the loop has none.
        admitted: where each knob is now, in the actuator's own coordinate: the law's last command after limits,
            slew and arbitration but before quantisation, or the position found in the plant.
        moved: True where `admitted` was *found*, because the loop just started or something else moved the knob.
            A law with memory then continues from there without a bump.
        elapsed: ticks since the law was last asked, at least 1; the time that a loop was held counts.
        held: those of them that passed while the loop was held, or beyond its usual cadence while it rested: nothing is
            known of the error then, and an integral that counted it would answer for the whole time at once.
    """

    readings: tuple[float, ...]
    setpoints: tuple[float, ...]
    admitted: tuple[float, ...]
    moved: tuple[bool, ...]
    elapsed: int
    held: int = 0


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


def bounded(value: float) -> float:
    """Return `value` held within +-`LARGEST`, so that products of two readings and gains stay finite.

    No knob or reading of a training run comes near the limit; a law applies this to what it is given and to each
    product before it adds, since infinity minus infinity would make a command that is not a number.
    """
    if -LARGEST < value < LARGEST:
        return value
    return LARGEST if value > 0 else -LARGEST


class Law(Part):
    """Decides where knobs go. Never touches a tensor, a model or a clock.

    State is data apart from the law: a (named) tuple of floats, integers, booleans, strings and None, which
    `update` takes and returns. So a law can be saved, resumed, replayed and run in the shadow without code of
    its own. `update` is deterministic and returns finite commands for finite input; a reading beyond +-`LARGEST`
    counts as that.

    A scalar law has one reading and one command; `shape` says so, and a multivariable law overrides it.
    """

    @property
    def needs_setpoint(self) -> bool:
        """Whether a loop must give this law a setpoint. A property, so that a combination can ask its members."""
        return False

    @property
    def positive_setpoints(self) -> tuple[bool, ...]:
        """Which setpoints the law takes the logarithm of, and so must be positive."""
        return (False,) * self.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of readings taken and of commands given."""
        return 1, 1

    def members(self) -> Iterator[Law]:
        """Yield this law and those it is made of, at any depth."""
        yield self
        for _, value in self:
            yield from _members(value)

    @abstractmethod
    def init(self) -> Any:
        """Return the state before the first decision."""

    @abstractmethod
    def update(self, state: Any, given: Input) -> Decision:
        """Decide once."""


def _members(value: Any) -> Iterator[Law]:
    if isinstance(value, Law):
        yield from value.members()
    elif isinstance(value, tuple):
        for item in value:
            yield from _members(item)
