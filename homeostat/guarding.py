"""Guards at work on one plant: who looks when, and at what."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from homeostat.answering import Answering, Found
from homeostat.errors import AttachError
from homeostat.guards.guard import ANSWERS, Guard
from homeostat.guards.lookout import Lookout
from homeostat.observers.loss_peak import LossPeak
from homeostat.plant import Plant
from homeostat.sensing import Senses

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
        self._by_metric: dict[str, list[Lookout]] = {}
        self._by_sensor: list[tuple[int, Lookout]] = []
        self._screens: list[tuple[str, float, float]] = []
        self._due = math.inf

    def add(self, guard: Guard) -> list[str]:
        """Put a guard to work; says why an optional one is left out.

        Raises:
            AttachError: it does not fit, and is not optional.
        """
        name = guard.title
        while name in {lookout.name for lookout in self._lookouts}:
            name += "'"
        lookout = Lookout(guard, name)
        if guard.metric is not None and self._exact:
            self._by_metric.setdefault(guard.metric, []).append(lookout)
        else:
            observer = guard.observer if guard.metric is None else LossPeak(metric=guard.metric)
            try:
                (sensor,) = self._senses.add((observer,), guard.every)
            except AttachError as error:
                if not guard.optional:
                    raise AttachError(f"Guard {guard.title!r}: {error}") from error
                return [f"Guard {guard.title!r} is left out: {error}"]
            self._by_sensor.append((sensor, lookout))
        self._lookouts.append(lookout)
        self._rearm(self._plant.tick)
        return []

    def sound(self) -> bool:
        """Whether this tick's metrics need no closer look, which is all that is asked between readings."""
        if self._plant.tick >= self._due:
            return False
        current = self._plant.metrics.current
        for metric, least, greatest in self._screens:
            value = current(metric)
            if value is not None and not least <= value <= greatest:
                return False
        return True

    def look(self, *, late: bool) -> bool:
        """Look at this tick's metrics; False where the step is not to be taken."""
        tick, found = self._plant.tick, list[Found]()
        for metric, lookouts in self._by_metric.items():
            value = self._plant.metrics.current(metric)
            for lookout in lookouts if value is not None else ():
                least, greatest = lookout.screen
                reading = float(value)  # type: ignore[arg-type]
                if tick % lookout.guard.every == 0 or not least <= reading <= greatest:
                    self._judge(lookout, reading, found, exact=not late)
        self._rearm()
        return self._answer(found)

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
        self._rearm(self._plant.tick)

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
        self._rearm(self._plant.tick)

    def _rearm(self, due: int | None = None) -> None:
        """Note what needs no closer look, until when: by default up to the next reading that is due."""
        tick = self._plant.tick
        self._due = min((tick + e - tick % e for e in self._cadences()), default=math.inf) if due is None else due
        self._screens = []
        for metric, lookouts in self._by_metric.items():
            least, greatest = zip(*(lookout.screen for lookout in lookouts), strict=True)
            self._screens.append((metric, max(least), min(greatest)))

    def _cadences(self) -> set[int]:
        return {lookout.guard.every for lookouts in self._by_metric.values() for lookout in lookouts}
