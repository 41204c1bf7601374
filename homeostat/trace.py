"""What happened, and why: one record a decision, kept in bounded columns and handed on to sinks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

# Why a delivered value is not what the law commanded, or why the law was not asked.
LIMITS = ("held", "low", "high", "slew", "quantised", "external", "safe", "alarm")


class Record(NamedTuple):
    """One decision of one loop. Knob values are in the knob's own units, whatever coordinate the law works in.

    Attributes:
        tick: optimizer steps that changed weights before this decision.
        loop: the loop's name.
        readings: what the observers measured (may be non-finite: then `limits` holds "held").
        setpoints: what was wanted; empty for a law that needs none.
        commands: what the law asked for.
        admitted: after limits and slew.
        delivered: what the knob was set to, after quantisation and rounding to its type.
        limits: see `LIMITS`.
        terms: what the command is made of, in the coordinate (P, I, D, ...).
    """

    tick: int
    loop: str
    readings: tuple[float, ...]
    setpoints: tuple[float, ...]
    commands: tuple[float, ...]
    admitted: tuple[float, ...]
    delivered: tuple[float, ...]
    limits: tuple[str, ...]
    terms: Mapping[str, float]

    @property
    def errors(self) -> tuple[float, ...]:
        """Setpoint minus reading, for each setpoint."""
        return tuple(s - r for s, r in zip(self.setpoints, self.readings, strict=False))


class Metric(NamedTuple):
    """The mean of an observed metric since the last one recorded."""

    tick: int
    name: str
    value: float


class Event(NamedTuple):
    """Something worth telling that is no decision: attached, resumed, an alarm, detached."""

    tick: int
    text: str


Entry = Record | Metric | Event


class Sink(Protocol):
    """Where entries go besides memory: a file, a dashboard."""

    def open(self, description: Mapping[str, Any]) -> None:
        """Begin, or go on, with a run; `description` is its recipe: names, parts, limits, versions."""

    def write(self, entry: Entry) -> None:
        """Take one entry; must not wait for a device or a network."""

    def flush(self) -> None:
        """Make what was written durable."""

    def close(self) -> None:
        """End the run."""


class Trace:
    """The last `capacity` entries of every loop and metric, in columns; older ones live in the sinks.

    Args:
        capacity: rows kept a loop and a metric.
        sinks: where every entry is handed on to.
    """

    def __init__(self, capacity: int = 1000, sinks: Sequence[Sink] = ()) -> None:
        self.capacity = capacity
        self.sinks = tuple(sinks)
        self.events: list[Event] = []
        self._tables: dict[tuple[str, str], _Table] = {}

    @property
    def loops(self) -> list[str]:
        """Names of the loops that have decided."""
        return [name for kind, name in self._tables if kind == "loop"]

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics recorded."""
        return [name for kind, name in self._tables if kind == "metric"]

    def append(self, entry: Entry) -> None:
        """Keep one entry and hand it to every sink."""
        match entry:
            case Record():
                self._table("loop", entry.loop).append(row(entry))
            case Metric():
                self._table("metric", entry.name).append({"tick": entry.tick, "value": entry.value})
            case Event():
                self.events = [*self.events, entry][-self.capacity :]
        for sink in self.sinks:
            sink.write(entry)

    def loop(self, name: str) -> dict[str, NDArray[np.float64]]:
        """Columns of a loop's records, oldest first.

        `tick`, then for i = 0, 1, ...: `reading.i`, `setpoint.i`, `command.i`, `admitted.i`, `delivered.i`;
        one 0/1 column for each of `LIMITS`, and `term.<name>` for what the law reported.
        """
        return self._tables["loop", name].columns()

    def metric(self, name: str) -> dict[str, NDArray[np.float64]]:
        """Columns `tick` and `value` of a metric, oldest first."""
        return self._tables["metric", name].columns()

    def _table(self, kind: str, name: str) -> _Table:
        key = (kind, name)
        if key not in self._tables:
            self._tables[key] = _Table(self.capacity)
        return self._tables[key]


def row(record: Record) -> dict[str, float]:
    """Flatten a record into the columns that `Trace.loop` names."""
    flat: dict[str, float] = {"tick": record.tick}
    fields = (
        ("reading", record.readings),
        ("setpoint", record.setpoints),
        ("command", record.commands),
        ("admitted", record.admitted),
        ("delivered", record.delivered),
    )
    for name, values in fields:
        for i, value in enumerate(values):
            flat[f"{name}.{i}"] = value
    for limit in LIMITS:
        flat[limit] = limit in record.limits
    for term, value in record.terms.items():
        flat[f"term.{term}"] = value
    return flat


class _Table:
    """A ring of rows; columns appear as they are first written, NaN before that."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._rows = 0
        self._data: dict[str, NDArray[np.float64]] = {}

    def append(self, row: Mapping[str, float]) -> None:
        at = self._rows % self._capacity
        for name in row.keys() - self._data.keys():
            self._data[name] = np.full(self._capacity, np.nan)
        for name, column in self._data.items():
            column[at] = row.get(name, np.nan)
        self._rows += 1

    def columns(self) -> dict[str, NDArray[np.float64]]:
        if self._rows <= self._capacity:
            return {name: column[: self._rows].copy() for name, column in self._data.items()}
        at = self._rows % self._capacity
        return {name: np.roll(column, -at) for name, column in self._data.items()}
