"""The metrics that a training loop reports, recorded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from homeostat.observers.loss import Loss
from homeostat.plant import Plant
from homeostat.sensing import Senses
from homeostat.state import require
from homeostat.trace import Metric, Trace

# Ticks after which a metric that never came is missed; an evaluation may be that rare.
PATIENCE = 1000


class Monitoring:
    """Records the mean of every observed metric, each a metric of this rank alone.

    Ranks may observe different ones (an evaluation on the first one only), so these are never reduced.

    Args:
        plant: whose metrics.
        latency: ticks between measuring and recording.
        every: ticks between two records.
        trace: takes them.
    """

    def __init__(self, plant: Plant, latency: int, every: int, trace: Trace) -> None:
        self._plant = plant
        self._every = every
        self._trace = trace
        self._senses = Senses(plant, None, latency)
        self._sensors: dict[str, int] = {}
        self._reported: set[str] = set()
        self._expected: set[str] = set()
        self._ask_at: float | None = None

    def expect(self, names: Iterable[str]) -> None:
        """Note metrics that a part cannot do without."""
        self._expected.update(names)

    @property
    def wake(self) -> float:
        """The next tick at which there is something to record."""
        return self._senses.wake

    def take_up(self) -> None:
        """Take up metrics that are new, before the tick is closed, so that the first value of none is lost."""
        if self._plant.metrics.heard_of_more:
            self._take_up(self._plant.metrics.names)

    def record(self) -> list[str]:
        """Record what is due of the observed metrics, after the tick was closed; says which are missing."""
        observed = self._senses.exchange()
        for name, index in self._sensors.items():
            if index in observed:
                self._reported.add(name)
                self._trace.append(Metric(self._plant.tick, name, observed[index]))
        return self._missed()

    def _missed(self) -> list[str]:
        """Say once, `PATIENCE` ticks after the first, which metrics a part waits for and nobody reports.

        What an optional part waits for may be missing on purpose; it is named where one that is reported is spelt
        almost alike.
        """
        tick = self._plant.tick
        if self._ask_at is None:
            self._ask_at = tick + PATIENCE
        if tick < self._ask_at:
            return []
        self._ask_at = math.inf
        told = []
        for name in (n for n in self._plant.metrics.names if n not in self._reported):
            alike = get_close_matches(name, self._reported, n=1)
            if alike or name in self._expected:
                hint = f"Rename one of them: {alike[0]!r} is reported" if alike else f"Call observe({name}=...)"
                told.append(f"A metric that is read must be reported; got no {name!r} in {PATIENCE} ticks. {hint}.")
        return told

    def arm(self) -> None:
        """Note when the next record is due."""
        self._senses.arm()

    def state_dict(self) -> dict[str, Any]:
        """Which metrics are recorded, and what of them is under way."""
        return {"monitors": list(self._sensors), "monitoring": self._senses.state_dict()}

    def check(self, state: Mapping[str, Any]) -> None:
        """Refuse a state that is not whole; it may be of other metrics.

        Raises:
            StateError: it is.
        """
        require(state["monitoring"], self._senses.state_dict(), "The metrics of a saved state")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._take_up(state["monitors"])
        self._senses.load_state_dict(state["monitoring"])

    def _take_up(self, names: list[str]) -> None:
        for name in names:
            if name not in self._sensors:
                (self._sensors[name],) = self._senses.add((Loss(metric=name),), self._every)
        metrics = self._plant.metrics
        metrics.heard_of_more = any(name not in self._sensors for name in metrics.names)
