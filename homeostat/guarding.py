"""Guards at work on one plant: who looks when, and at what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from homeostat.answering import Answering, Found
from homeostat.errors import AttachError
from homeostat.guards.guard import ANSWERS, Guard
from homeostat.guards.ladder import MILD, LadderState
from homeostat.guards.lookout import Lookout
from homeostat.observers.loss_peak import LossPeak
from homeostat.observers.observer import Observer
from homeostat.plant import Plant
from homeostat.sensing import Senses
from homeostat.state import from_data, require

_Read = Callable[[], Tensor | float | None]
# Measured in one step and read in the next.
_LATE = frozenset({"proposals", "updates"})


class Guarding:
    """The guards of a controller at work.

    Args:
        plant: what they look at.
        senses: takes the observers that have to measure.
        answering: carries answers out.
        exact: whether a reading is known before the step: one process, no latency.
    """

    def __init__(self, plant: Plant, senses: Senses, answering: Answering, *, exact: bool) -> None:
        self._plant, self._senses, self._exact = plant, senses, exact
        self._answering = answering
        self._lookouts: list[Lookout] = []
        self._readers: dict[Observer, _Read] = {}
        # What is read between readings, where it is less.
        self._glances: dict[_Read, _Read] = {}
        self._instant: dict[_Read, list[Lookout]] = {}
        self._by_sensor: list[tuple[int, Lookout]] = []
        # Whether one of these keeps the run where it is and its step from being taken.
        self._keeps = False
        self._screens: list[tuple[_Read, float, float, int]] = []

    def add(self, guard: Guard) -> list[str]:
        """Put a guard to work; says why an optional one is left out.

        Raises:
            AttachError: it does not fit, and is not optional.
        """
        name = guard.title
        while name in {lookout.name for lookout in self._lookouts}:
            name += "'"
        lookout = Lookout(guard, name)
        try:
            if self._exact and (guard.metric is not None or guard.observer.instant):
                self._instant.setdefault(self._reader(guard), []).append(lookout)
            else:
                observer = guard.observer if guard.metric is None else LossPeak(metric=guard.metric)
                (sensor,) = self._senses.add((observer,), guard.every)
                self._by_sensor.append((sensor, lookout))
                self._keeps |= guard.answer in {*MILD, "reset"}
        except AttachError as error:
            if not guard.optional:
                raise AttachError(f"Guard {guard.title!r}: {error}") from error
            return [f"Guard {guard.title!r} is left out: {error}"]
        self._lookouts.append(lookout)
        self._rearm()
        return []

    def sound(self) -> bool:
        """Whether what can be looked at in every step needs no closer look: one comparison each between readings."""
        tick = self._plant.tick
        for read, least, greatest, due in self._screens:
            value = read()
            if value is not None and not (least <= value <= greatest and tick < due):
                return False
        return True

    def look(self, *, late: bool) -> bool:
        """Look at these closely; False where the step is not to be taken."""
        tick, found = self._plant.tick, list[Found]()
        for read, lookouts in self._instant.items():
            value = read()
            for lookout in lookouts if value is not None else ():
                least, greatest = lookout.screen
                reading = float(value)  # type: ignore[arg-type]
                if tick >= lookout.due or not least <= reading <= greatest:
                    self._judge(lookout, reading, found, exact=not late)
        self._rearm()
        return self._answer(found)

    def hears_in_time(self, *, late: bool) -> bool:
        """Whether a reading that arrives may keep the step under way from being taken."""
        return self._exact and not late and self._keeps

    def hear(self, arrived: Mapping[int, float], *, late: bool) -> bool:
        """Judge readings that have arrived, by sensor; False where the step is not to be taken."""
        found: list[Found] = []
        for sensor, lookout in self._by_sensor:
            if sensor in arrived:
                exact = self._exact and not late and lookout.guard.observer.phase not in _LATE
                self._judge(lookout, arrived[sensor], found, exact=exact)
        return self._answer(found)

    def state_dict(self) -> dict[str, Any]:
        """What the next verdicts and answers depend on, as plain data."""
        return {
            "lookouts": {lookout.name: lookout.state_dict() for lookout in self._lookouts},
            "answering": self._answering.state_dict(),
        }

    def check(self, state: Mapping[str, Any]) -> None:
        """Refuse a state that is not whole, before anything is changed; it may be of other guards.

        Raises:
            StateError: it is.
        """
        here = self.state_dict()
        require(state, here, "The guards of a saved state")
        require(state["answering"], here["answering"], "The answers of a saved state")
        require(state["lookouts"], (), "The guards of a saved state")
        from_data(LadderState(), state["answering"]["climbed"])
        for lookout in self._lookouts:
            if lookout.name in state["lookouts"]:
                lookout.check(state["lookouts"][lookout.name])

    def load_state_dict(self, state: Mapping[str, Any], *, back: bool) -> None:
        """Continue from `state_dict`.

        Args:
            state: as it was.
            back: the run has gone back; then how far answers had escalated is not forgotten.
        """
        for lookout in self._lookouts:
            if lookout.name in state["lookouts"]:
                lookout.load_state_dict(state["lookouts"][lookout.name])
        if not back:
            self._answering.load_state_dict(state["answering"])
        self._rearm()

    def depart(self, state: Mapping[str, Any]) -> None:
        """Take for normal what was so when `state` was returned: weights of then have the losses of then."""
        for lookout in self._lookouts:
            if lookout.name in state["lookouts"]:
                lookout.depart(state["lookouts"][lookout.name], self._plant.tick)
        self._rearm()

    def _judge(self, lookout: Lookout, reading: float, found: list[Found], *, exact: bool) -> None:
        finding = lookout.judge(reading, self._plant.tick)
        if finding is not None:
            found.append(Found(lookout, reading, finding, exact))

    def _answer(self, found: list[Found]) -> bool:
        """Answer the gravest of what was found."""
        if not found:
            return True
        return self._answering.answer(max(found, key=lambda f: ANSWERS.index(f.lookout.guard.answer)), self._rest)

    def _rest(self) -> None:
        for lookout in self._lookouts:
            lookout.rest(self._plant.tick)
        self._rearm()

    def _reader(self, guard: Guard) -> _Read:
        """Return what reads a guard's observer at once, the same for equal ones."""
        if guard.observer not in self._readers:
            if guard.metric is not None:
                self._readers[guard.observer] = partial(self._plant.metrics.current, guard.metric)
            else:
                memory = guard.observer.init(self._plant)
                self._readers[guard.observer] = partial(_at_once, guard.observer.observe, self._plant, memory)
                self._glances[self._readers[guard.observer]] = partial(
                    _at_once, guard.observer.glance, self._plant, memory
                )
        return self._readers[guard.observer]

    def _rearm(self) -> None:
        """Note what needs no closer look, and until when."""
        self._screens = []
        for read, lookouts in self._instant.items():
            least, greatest = zip(*(lookout.screen for lookout in lookouts), strict=True)
            due = min(lookout.due for lookout in lookouts)
            self._screens.append((self._glances.get(read, read), max(least), min(greatest), due))


def _at_once(look: Callable[[Plant, Any], Tensor | float | None], plant: Plant, memory: Any) -> float | None:
    reading = look(plant, memory)
    return None if reading is None else float(reading)
