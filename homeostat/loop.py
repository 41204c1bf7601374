"""A loop: what is measured, what decides, what is moved. The frozen form, as a recipe holds it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

from pydantic import Field, SerializeAsAny, model_validator

from homeostat.actuators.actuator import Actuator
from homeostat.laws.law import Law
from homeostat.observers.observer import Observer
from homeostat.pace import Rest
from homeostat.part import Part, snake
from homeostat.profile import Profile


class AnyLoop(Part):
    """What every loop has.

    Attributes:
        every: ticks between two decisions (a rare reading decides when it comes).
        name: in records and reports; by default made of the actuators' kinds.
        patience: decisions that a loop may be held, or stand at a limit, before it raises an alarm.
        rest: a slower cadence while the knobs keep still; None for the same cadence always.
        back_off: carry out half as much of the law's moves whenever the loop is found to oscillate.
        optional: leave the loop out where the plant offers no such reading or knob, instead of refusing.
    """

    every: int = Field(default=10, ge=1)
    name: str = ""
    patience: int = Field(default=20, ge=1)
    rest: Rest | None = None
    back_off: bool = True
    optional: bool = False

    @model_validator(mode="after")
    def _check_rest(self) -> Self:
        if self.rest is not None and self.rest.every % self.every:
            msg = (
                f"A loop's rest.every must be a multiple of every; got {self.rest.every} and {self.every}. Take a "
                "multiple, so that a resting loop decides at ticks that are its own."
            )
            raise ValueError(msg)
        return self

    @abstractmethod
    def coupled(self) -> CoupledLoop:
        """Return this loop in the general form, which is what runs."""


class CoupledLoop(AnyLoop):
    """Steers m knobs by n readings through one multivariable law.

    Attributes:
        observers: what is measured, n of them.
        law: takes n readings and gives m commands.
        actuators: what is moved, m of them.
        setpoints: wanted readings: numbers, or profiles over the ticks; empty for a law that needs none.
        safe: knob values to fall back to, in their own units, once a hold has outlasted `patience`; by default
            the knobs stay where they are, since the initial value may be what the run was rescued from.

    Raises:
        pydantic.ValidationError: the law's shape does not fit, or a needed setpoint is missing, or one has no
            logarithm.
    """

    observers: tuple[SerializeAsAny[Observer], ...] = Field(min_length=1)
    law: SerializeAsAny[Law]
    actuators: tuple[SerializeAsAny[Actuator], ...] = Field(min_length=1)
    setpoints: tuple[float | Profile, ...] = ()
    safe: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        shape = (len(self.observers), len(self.actuators))
        law = type(self.law).__name__
        if self.law.shape != shape:
            msg = (
                f"A loop's law must fit its readings and knobs; got {law} of shape {self.law.shape} for "
                f"{shape[0]} readings and {shape[1]} knobs. Use a law of shape {shape}."
            )
            raise ValueError(msg)
        if len(self.setpoints) not in {0, shape[0]} or (self.law.needs_setpoint and not self.setpoints):
            msg = f"A loop with {law} must have {shape[0]} setpoints; got {len(self.setpoints)}. Give one a reading."
            raise ValueError(msg)
        if any(map(self._without_logarithm, self.law.positive_setpoints, self.setpoints)):
            msg = (
                f"A setpoint of {law} must be above 0, as it compares logarithms; got {self._shown()}. "
                "Choose a positive one, or compare differences."
            )
            raise ValueError(msg)
        if len(self.safe) not in {0, shape[1]}:
            msg = f"safe must give {shape[1]} knob values or none; got {len(self.safe)}. Give one an actuator."
            raise ValueError(msg)
        if len(set(self.actuators)) < shape[1]:
            msg = "A loop's actuators must differ; got one twice. Join the laws that want to move it in one law."
            raise ValueError(msg)
        return self

    def _shown(self) -> str:
        return ", ".join(str(s.points) if isinstance(s, Profile) else f"{s:g}" for s in self.setpoints)

    @staticmethod
    def _without_logarithm(positive: bool, setpoint: float | Profile) -> bool:
        # Between its points a profile is nowhere below the lesser one.
        lowest = min(value for _, value in setpoint.points) if isinstance(setpoint, Profile) else setpoint
        return positive and lowest <= 0

    def coupled(self) -> CoupledLoop:
        """Return itself."""
        return self

    @property
    def title(self) -> str:
        """The name, or one made of the actuators' kinds: "LearningRate" gives "learning_rate"."""
        return self.name or "+".join(snake(type(actuator).__name__) for actuator in self.actuators)

    def wanted(self, tick: int) -> tuple[float, ...]:
        """Return the setpoints at `tick`."""
        return tuple(s.at(tick) if isinstance(s, Profile) else s for s in self.setpoints)


class Loop(AnyLoop):
    """Steers one knob by one reading.

    Attributes:
        observer: what is measured.
        law: what decides.
        actuator: what is moved.
        setpoint: the wanted reading: a number, or a profile over the ticks; None for a law that needs none.
        safe: knob value to fall back to, as in `CoupledLoop`.

    Raises:
        pydantic.ValidationError: the law is multivariable, or a needed setpoint is missing.
    """

    observer: SerializeAsAny[Observer]
    law: SerializeAsAny[Law]
    actuator: SerializeAsAny[Actuator]
    setpoint: float | Profile | None = None
    safe: float | None = None

    def __init__(
        self, observer: Observer | None = None, law: Law | None = None, actuator: Actuator | None = None, **fields: Any
    ) -> None:
        given = {"observer": observer, "law": law, "actuator": actuator}
        super().__init__(**{key: part for key, part in given.items() if part is not None}, **fields)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.coupled()
        return self

    def coupled(self) -> CoupledLoop:
        """Return the same loop in the general form, which is what runs."""
        return CoupledLoop(
            observers=(self.observer,),
            law=self.law,
            actuators=(self.actuator,),
            setpoints=() if self.setpoint is None else (self.setpoint,),
            every=self.every,
            name=self.name,
            patience=self.patience,
            rest=self.rest,
            back_off=self.back_off,
            safe=() if self.safe is None else (self.safe,),
            optional=self.optional,
        )


def refuse_shared_actuators(loops: Sequence[CoupledLoop]) -> None:
    """Refuse loops that move the same knob.

    Raises:
        ValueError: two of them do.
    """
    seen: dict[Actuator, str] = {}
    for loop in loops:
        for actuator in loop.actuators:
            if actuator in seen:
                msg = (
                    f"An actuator must belong to one loop; got {type(actuator).__name__} in {seen[actuator]!r} and "
                    f"{loop.title!r}. Join the two laws in one loop, or narrow the actuators' globs."
                )
                raise ValueError(msg)
            seen[actuator] = loop.title
