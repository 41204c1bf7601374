"""What happened, and why: one record a decision, kept in bounded columns and handed on to sinks."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

# Why a delivered value is not what the law commanded, or why the law was not asked.
LIMITS = (
    "held", "low", "high", "slew", "quantised", "external", "safe", "backed off", "alarm", "override", "advised",
)  # fmt: skip


T = TypeVar("T")


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


class Intervention(NamedTuple):
    """What a guard did about a fault.

    Attributes:
        tick: optimizer steps that changed weights before it.
        guard: its name.
        answer: "alarm", "cut", "skip", "reset", "rollback" or "abort".
        text: what was found.
        exact: whether the step at fault had not been taken yet.
        back_to: tick of the snapshot that was put back; None for none.
        replayed: whether the run goes on from that tick, so that what was recorded since is recorded anew.
        advised: whether it was only said and not done.
    """

    tick: int
    guard: str
    answer: str
    text: str
    exact: bool = True
    back_to: int | None = None
    replayed: bool = False
    advised: bool = False

    @property
    def sentence(self) -> str:
        """What happened, for people."""
        put_back = ", put back" if self.answer == "abort" else ""
        done = _DONE[self.answer] + ("" if self.back_to is None else f"{put_back} to tick {self.back_to}")
        return f"Guard {self.guard!r} at tick {self.tick}: {self.text}; {'advised: ' if self.advised else ''}{done}."


_DONE = {
    "alarm": "nothing is done",
    "cut": "the gradient is cut to its usual norm",
    "skip": "the step is skipped",
    "reset": "the optimizer's moments are reset and the step is skipped",
    "rollback": "the run goes back",
    "abort": "the run is given up",
}


class LoopVitals(NamedTuple):
    """How well one loop held its readings over a window of decisions: `homeostat.analysis.loop_vitals`.

    Every number is free of units; NaN where it has no meaning (no setpoint), or where the window is too short to tell.

    Attributes:
        decisions: how many the window holds.
        regulation: mean of min(1, band / |error|), in [0, 1]; 1 where the error never left the band.
        in_band: fraction of decisions with every reading in the band around its setpoint; NaN without a setpoint.
        harris: least variance that any law could reach, over the mean squared error, in [0, 1].
        oscillation: regularity of the error's cycles, in [0, 1]; above 0.5 the loop oscillates.
        saturation: fraction of decisions with a knob at a limit.
        travel: way of the knob that moved most, in widths of its range a tick.
        held: fraction of decisions without a finite reading.
    """

    decisions: int
    regulation: float
    in_band: float
    harris: float
    oscillation: float
    saturation: float
    travel: float
    held: float


class Vitals(NamedTuple):
    """How well all loops together hold what they are to hold.

    Attributes:
        tick: when.
        homeostasis: geometric mean of the regulation of loops with a setpoint, in [0, 1]; NaN while none can be judged.
        loops: by loop.
    """

    tick: int
    homeostasis: float
    loops: Mapping[str, LoopVitals]


class _Judgement(NamedTuple):
    """Vitals of a tick that nobody has asked for yet, which keep records of before that tick.

    Attributes:
        tick: when.
        work_out: makes them.
        until: how many records have come by the time that the trace begins to drop those.
    """

    tick: int
    work_out: Callable[[], Vitals]
    until: int

    def vitals(self) -> Vitals | None:
        """Return them; None where no loop can be judged."""
        found = self.work_out()
        return None if math.isnan(found.homeostasis) else found


Entry = Record | Metric | Event | Intervention | Vitals


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

    Attributes:
        events: the last ones, oldest first.
        interventions: the last ones, oldest first.
    """

    def __init__(self, capacity: int = 1000, sinks: Sequence[Sink] = ()) -> None:
        self.capacity = capacity
        self.sinks = tuple(sinks)
        self.events: list[Event] = []
        self.interventions: list[Intervention] = []
        self._vitals: list[Vitals | _Judgement] = []
        self._count = 0
        # Kept as they come and turned into columns when asked for: a decision must cost little.
        self._records: dict[str, deque[Record]] = {}
        self._metrics: dict[str, deque[Metric]] = {}

    @property
    def loops(self) -> list[str]:
        """Names of the loops that have decided."""
        return list(self._records)

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics recorded."""
        return list(self._metrics)

    @property
    def vitals(self) -> list[Vitals]:
        """The last ones that were recorded, oldest first."""
        found = self._worked_out(self._vitals)
        self._vitals = [*found]
        return found

    def judge(self, tick: int, work_out: Callable[[], Vitals]) -> None:
        """Record the vitals of this tick, unless no loop can be judged yet.

        They are worked out at once for sinks, and where there are none when somebody asks for them, or before they
        alone would keep old records.
        """
        judgement = _Judgement(tick, work_out, self._count + self.capacity)
        if not self.sinks:
            old = [v for v in self._vitals if not isinstance(v, _Judgement) or v.until <= self._count]
            young = self._vitals[len(old) :]
            self._vitals = [*self._worked_out(old), *young, judgement][-self.capacity :]
        elif (vitals := judgement.vitals()) is not None:
            self.append(vitals)

    def append(self, entry: Entry) -> None:
        """Keep one entry and hand it to every sink."""
        match entry:
            case Record():
                self._count += 1
                self._records.setdefault(entry.loop, deque(maxlen=self.capacity)).append(entry)
            case Metric():
                self._metrics.setdefault(entry.name, deque(maxlen=self.capacity)).append(entry)
            case Event():
                self.events = [*self.events, entry][-self.capacity :]
            case Intervention():
                self.interventions = [*self.interventions, entry][-self.capacity :]
                if entry.replayed:
                    self._rewind(entry.back_to or 0)
            case Vitals():
                self._vitals = [*self._vitals, entry][-self.capacity :]
        for sink in self.sinks:
            sink.write(entry)

    @staticmethod
    def _worked_out(vitals: Sequence[Vitals | _Judgement]) -> list[Vitals]:
        known = [v.vitals() if isinstance(v, _Judgement) else v for v in vitals]
        return [found for found in known if found is not None]

    def _rewind(self, tick: int) -> None:
        """Drop what was recorded at `tick` or later: a replay records it anew."""
        for records in self._records.values():
            while records and records[-1].tick >= tick:
                records.pop()
        for metrics in self._metrics.values():
            while metrics and metrics[-1].tick >= tick:
                metrics.pop()
        self._vitals = [vitals for vitals in self._vitals if vitals.tick < tick]

    def records(self, name: str, last: int) -> list[Record]:
        """Return the last records of a loop, `last` at most, oldest first; none where it has not decided."""
        return list(self._records.get(name, ()))[-last:]

    def loop(self, name: str) -> dict[str, NDArray[np.float64]]:
        """Columns of a loop's records, oldest first.

        `tick`, then for i = 0, 1, ...: `reading.i`, `setpoint.i`, `command.i`, `admitted.i`, `delivered.i`;
        one 0/1 column for each of `LIMITS`, and `term.<name>` for what the law reported.

        Raises:
            KeyError: no loop of this name has decided.
        """
        return _columns(row(record) for record in _named(name, self._records, "loop that has decided"))

    def metric(self, name: str) -> dict[str, NDArray[np.float64]]:
        """Columns `tick` and `value` of a metric, oldest first.

        Raises:
            KeyError: no metric of this name was recorded.
        """
        found = _named(name, self._metrics, "metric that was recorded")
        return _columns({"tick": metric.tick, "value": metric.value} for metric in found)


def _named(name: str, found: Mapping[str, Iterable[T]], what: str) -> Iterable[T]:
    if name not in found:
        msg = f"name must be a {what}; got {name!r}. There is: {', '.join(found) or 'none yet'}."
        raise KeyError(msg)
    return found[name]


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


def _columns(rows: Iterable[Mapping[str, float]]) -> dict[str, NDArray[np.float64]]:
    """Turn rows into columns, in the order in which they first appear, NaN where a row lacks one."""
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, np.nan) for row in rows], dtype=np.float64) for name in names}
