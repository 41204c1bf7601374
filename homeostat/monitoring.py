"""The metrics that a training loop reports, recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeostat.observers.loss import Loss
from homeostat.plant import Plant
from homeostat.sensing import Senses
from homeostat.trace import Metric, Trace


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

    def idle(self) -> bool:
        """Whether there is nothing to record at this tick, and no metric that is new."""
        return len(self._plant.metrics) <= len(self._sensors) and self._senses.idle()

    def begin(self) -> None:
        """Take up new metrics, before the tick is closed, so that a metric's first value is not lost."""
        if len(self._plant.metrics) > len(self._sensors):
            self._take_up(self._plant.metrics.names)

    def record(self) -> None:
        """Record what is due."""
        observed = self._senses.exchange()
        for name, index in self._sensors.items():
            if index in observed:
                self._trace.append(Metric(self._plant.tick, name, observed[index]))

    def arm(self) -> None:
        """Note when the next record is due."""
        self._senses.arm()

    def state_dict(self) -> dict[str, Any]:
        """Which metrics are recorded, and what of them is under way."""
        return {"monitors": list(self._sensors), "monitoring": self._senses.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._take_up(state["monitors"])
        self._senses.load_state_dict(state["monitoring"])

    def _take_up(self, names: list[str]) -> None:
        for name in names:
            if name not in self._sensors:
                (self._sensors[name],) = self._senses.add((Loss(metric=name),), self._every)
