"""A trace read back from disk, as columns."""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from homeostat.errors import TraceError
from homeostat.trace import Event, Intervention, LoopVitals, Record, Vitals, row

Columns = dict[str, NDArray[np.float64]]

# The description's format that this reader knows.
VERSION = 1
# The trace's name in the folder of a run.
TRACE = "trace.jsonl"


class Run(NamedTuple):
    """Everything a trace holds.

    Attributes:
        description: the newest description of the run.
        loops: by loop, the columns that `Trace.loop` names, oldest first.
        metrics: by metric, columns `tick` and `value`.
        events: oldest first.
        interventions: of guards, oldest first.
        vitals: oldest first; those of any part of the run: `homeostat.analysis.run_vitals`.
    """

    description: Mapping[str, Any]
    loops: dict[str, Columns]
    metrics: dict[str, Columns]
    events: list[Event]
    interventions: list[Intervention]
    vitals: list[Vitals]

    @property
    def ticks(self) -> int:
        """The last tick anything was recorded at."""
        last = [int(columns["tick"][-1]) for columns in (*self.loops.values(), *self.metrics.values())]
        return max([0, *last, *(event.tick for event in self.events)])


def read_run(path: str | Path) -> Run:
    """Read a trace that `JsonLines` wrote; also while it is being written, or after a kill.

    A torn last line is ignored. Where the run was resumed at tick t, what an earlier process recorded at t or
    later is dropped once the resumed run records anything: it did those ticks anew. A process that opened the trace
    and decided nothing (it attached, and then loaded a state) drops nothing.

    Args:
        path: the file, or the folder that holds `trace.jsonl`.

    Raises:
        TraceError: there is no such file, it is no trace, or one of another version.
    """
    path = Path(path)
    if path.is_dir():
        path = path / TRACE
    reader = _Reader(path)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.endswith(b"\n"):
                    reader.take(number, line)
    except OSError as error:
        msg = f"{path} must be a readable trace; got {error.strerror or error}. Name a run's folder or its {TRACE}."
        raise TraceError(msg) from error
    return reader.run()


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._description: Mapping[str, Any] | None = None
        self._loops: dict[str, _Growing] = {}
        self._metrics: dict[str, _Growing] = {}
        self._events: list[Event] = []
        self._interventions: list[Intervention] = []
        self._vitals: list[Vitals] = []
        # What the last opening of the trace waits with until something is recorded.
        self._resumed_at: int | None = None
        self._new_events: list[Event] = []

    def take(self, number: int, line: bytes) -> None:
        try:
            fields = json.loads(line)
            if "run" in fields:
                self._describe(fields["run"])
            elif self._description is None:
                self._refuse(f"line {number} before any description of the run")
            elif "event" in fields:
                events = self._events if self._resumed_at is None else self._new_events
                events.append(Event(fields["tick"], fields["event"]))
            else:
                self._record(fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._refuse(f"line {number}, which is not one of its entries", error)

    def _record(self, fields: Mapping[str, Any]) -> None:
        self._resume()
        if "homeostasis" in fields:
            self._vitals.append(_vitals(fields))
        elif "intervention" in fields:
            self._intervene(Intervention(**fields["intervention"]))
        elif "loop" in fields:
            record = _record(fields)
            self._loops.setdefault(record.loop, _Growing()).append(row(record))
        else:
            value = {"tick": fields["tick"], "value": float(fields["value"])}
            self._metrics.setdefault(fields["metric"], _Growing()).append(value)

    def _intervene(self, intervention: Intervention) -> None:
        self._interventions.append(intervention)
        if intervention.replayed and intervention.back_to is not None:
            self._drop_from(intervention.back_to)

    def _resume(self) -> None:
        if self._resumed_at is None:
            return
        self._drop_from(self._resumed_at)
        self._events = [event for event in self._events if event.tick < self._resumed_at] + self._new_events
        self._interventions = [i for i in self._interventions if i.tick < self._resumed_at]
        self._resumed_at = None

    def _drop_from(self, tick: int) -> None:
        for table in (*self._loops.values(), *self._metrics.values()):
            table.drop_from(tick)
        self._vitals = [vitals for vitals in self._vitals if vitals.tick < tick]

    def run(self) -> Run:
        if self._description is None:
            self._refuse("an empty file" if self._path.stat().st_size == 0 else "no whole line")
        events = self._events if self._resumed_at is None else self._events + self._new_events
        loops = {name: table.columns() for name, table in self._loops.items() if table}
        metrics = {name: table.columns() for name, table in self._metrics.items() if table}
        return Run(self._description, loops, metrics, events, self._interventions, self._vitals)

    def _describe(self, description: Mapping[str, Any]) -> None:
        version = description.get("version")
        if version != VERSION:
            msg = (
                f"{self._path} must be a trace of version {VERSION}; got version {version}, "
                f"written by homeostat {description.get('homeostat', 'unknown')}. Read it with that release."
            )
            raise TraceError(msg)
        self._description = description
        self._resumed_at, self._new_events = description.get("tick", 0), []

    def _refuse(self, got: str, cause: Exception | None = None) -> NoReturn:
        msg = (
            f"{self._path} must be a trace written by homeostat.sinks.JsonLines; got {got}. "
            f"Name a run's folder or its {TRACE}."
        )
        raise TraceError(msg) from cause


def _record(fields: Mapping[str, Any]) -> Record:
    numbers = ("readings", "setpoints", "commands", "admitted", "delivered")
    # `float` also reads the names that stand for non-finite numbers.
    values = {name: tuple(map(float, fields[name])) for name in numbers}
    terms = {name: float(value) for name, value in fields["terms"].items()}
    return Record(tick=fields["tick"], loop=fields["loop"], limits=tuple(fields["limits"]), terms=terms, **values)


def _vitals(fields: Mapping[str, Any]) -> Vitals:
    loops = {
        name: LoopVitals(**{field: float(value) for field, value in loop.items()} | {"decisions": loop["decisions"]})
        for name, loop in fields["loops"].items()
    }
    return Vitals(fields["tick"], float(fields["homeostasis"]), loops)


class _Growing:
    """Columns that grow by rows, 8 bytes a number; ticks never decrease."""

    def __init__(self) -> None:
        self._data: dict[str, array[float]] = {"tick": array("d")}

    def __len__(self) -> int:
        return len(self._data["tick"])

    def append(self, values: Mapping[str, float]) -> None:
        for name in values.keys() - self._data.keys():
            self._data[name] = array("d", [np.nan]) * len(self)
        for name, column in self._data.items():
            column.append(values.get(name, np.nan))

    def drop_from(self, tick: int) -> None:
        keep = bisect_left(self._data["tick"], tick)
        for column in self._data.values():
            del column[keep:]

    def columns(self) -> Columns:
        return {name: np.array(column) for name, column in self._data.items()}
