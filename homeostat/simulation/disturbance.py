"""What comes between a plant and the loop, as data: a disturbance, and a plant that suffers several."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, SerializeAsAny, model_validator

from homeostat.part import Part
from homeostat.simulation.plant import AnyPlant, Readings, Vector


class Disturbance(Part):
    """Changes readings on their way to the observers, or knobs on their way to the plant.

    Every reading or knob that it falls on has a state and `draws` standard normal numbers of its own a tick.

    Attributes:
        channel: number of the one reading or knob that it falls on, from 0; None for all.
    """

    channel: int | None = Field(default=None, ge=0)

    on: ClassVar[Literal["readings", "knobs"]] = "readings"

    @property
    def draws(self) -> int:
        """How many standard normal numbers it takes a tick."""
        return 1

    def init(self) -> Any:
        """Return the state before the first tick; by default it has no memory."""

    @abstractmethod
    def apply(self, state: Any, value: float, noise: Vector) -> float | None:
        """Return what becomes of `value` at this tick; None makes a reading missing."""

    def step(self, state: Any, noise: Vector) -> Any:
        """Return the state one tick later."""
        del noise
        return state


class DisturbedState(NamedTuple):
    """The plant's state, and of each disturbance one state a channel."""

    plant: Any
    disturbances: tuple[tuple[Any, ...], ...]


class Disturbed(AnyPlant):
    """Is another plant under disturbances, which act in the order given. A missing reading stays missing.

    Attributes:
        plant: what is disturbed.
        disturbances: by what.

    Raises:
        pydantic.ValidationError: a disturbance falls on a reading or a knob that the plant does not have.
    """

    plant: SerializeAsAny[AnyPlant]
    disturbances: tuple[SerializeAsAny[Disturbance], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for disturbance in self.disturbances:
            count = self._count(disturbance)
            if disturbance.channel is not None and disturbance.channel >= count:
                msg = (
                    f"{type(disturbance).__name__}.channel must be below the plant's {count} {disturbance.on}; got "
                    f"{disturbance.channel}. Count from 0."
                )
                raise ValueError(msg)
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """The plant's own."""
        return self.plant.shape

    @property
    def draws(self) -> int:
        """The plant's own, then those of every disturbance on every channel."""
        return self.plant.draws + sum(d.draws * len(self._channels(d)) for d in self.disturbances)

    def init(self) -> DisturbedState:
        """Return the plant's state and the disturbances' own."""
        states = tuple((d.init(),) * len(self._channels(d)) for d in self.disturbances)
        return DisturbedState(self.plant.init(), states)

    def observe(self, state: DisturbedState, noise: Vector) -> Readings:
        """Disturb what the plant shows."""
        seen = self.plant.observe(state.plant, noise[: self.plant.draws])
        disturbed: Readings = self._applied("readings", seen, state, noise)
        return disturbed

    def advance(self, state: DisturbedState, knobs: Vector, noise: Vector) -> DisturbedState:
        """Advance the plant with disturbed knobs, and the disturbances."""
        acting = self._applied("knobs", knobs, state, noise)
        after = self.plant.advance(state.plant, acting, noise[: self.plant.draws])
        stepped: list[list[Any]] = [[] for _ in self.disturbances]
        for i, _, own, draws in self._each(state, noise):
            stepped[i].append(self.disturbances[i].step(own, draws))
        return DisturbedState(after, tuple(map(tuple, stepped)))

    def _applied(self, on: str, values: Any, state: DisturbedState, noise: Vector) -> Any:
        """Return `values` after the disturbances on them."""
        applied = list(values)
        for i, channel, own, draws in self._each(state, noise):
            if self.disturbances[i].on == on and applied[channel] is not None:
                applied[channel] = self.disturbances[i].apply(own, applied[channel], draws)
        return tuple(applied)

    def _each(self, state: DisturbedState, noise: Vector) -> Iterator[tuple[int, int, Any, Vector]]:
        """Yield disturbance by number, channel, state and normal numbers."""
        first = self.plant.draws
        for i, (disturbance, states) in enumerate(zip(self.disturbances, state.disturbances, strict=True)):
            draws = disturbance.draws
            # One state for each of its channels, which are all from 0 on, or one.
            for channel, own in enumerate(states, start=disturbance.channel or 0):
                yield i, channel, own, noise[first : first + draws]
                first += draws

    def _channels(self, disturbance: Disturbance) -> range | tuple[int]:
        return range(self._count(disturbance)) if disturbance.channel is None else (disturbance.channel,)

    def _count(self, disturbance: Disturbance) -> int:
        return self.plant.shape[disturbance.on == "knobs"]
