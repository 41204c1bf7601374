"""What identification works on: a reading and the knob that moved it, tick by tick."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from homeostat.errors import AnalysisError

Array = NDArray[np.float64]


class RecordedRun(Protocol):
    """What `homeostat.sinks.read_run` returns, as far as it is needed here."""

    @property
    def description(self) -> Mapping[str, Any]:
        """The recipe that ran."""

    @property
    def loops(self) -> Mapping[str, Mapping[str, Array]]:
        """Columns by loop."""


class Recording(NamedTuple):
    """Readings, and the position at which the knob was left after each. One entry a decision.

    Attributes:
        tick: when; increases strictly.
        reading: what was measured; not finite where nothing was.
        knob: position from this tick until the next, in the actuator's coordinate.
        log_reading: whether `reading` is a logarithm.
    """

    tick: Array
    reading: Array
    knob: Array
    log_reading: bool = False

    @classmethod
    def of(cls, tick: ArrayLike, reading: ArrayLike, knob: ArrayLike, *, log_reading: bool = False) -> Self:
        """Check and copy arrays; with `log_reading` the readings are logarithms.

        Raises:
            AnalysisError: of different lengths, ticks that do not increase, or a knob that is nowhere.
        """
        columns = tuple(np.array(column, dtype=np.float64) for column in (tick, reading, knob))
        lengths = [column.shape for column in columns]
        if len(set(lengths)) != 1 or columns[0].ndim != 1:
            msg = f"tick, reading and knob must be vectors of one length; got {lengths}. Cut them to what they share."
            raise AnalysisError(msg)
        if not np.all(np.diff(columns[0]) > 0) or not np.all(columns[0] == np.round(columns[0])):
            msg = f"Ticks must be whole and increase strictly; got {columns[0][:8]}... Sort them and drop repeats."
            raise AnalysisError(msg)
        if not np.all(np.isfinite(columns[2])):
            msg = "Knob positions must be finite; got some that are not. Positions at 0 have no logarithm."
            raise AnalysisError(msg)
        return cls(columns[0], columns[1], columns[2], log_reading)

    @classmethod
    def from_columns(
        cls,
        columns: Mapping[str, Array],
        *,
        scale: Literal["linear", "log"],
        log_reading: bool = False,
        reading: int = 0,
        knob: int = 0,
    ) -> Self:
        """Take a loop's columns, as `Homeostat.trace.loop(name)` gives them.

        Args:
            columns: with `tick`, `reading.<i>` and `delivered.<j>`.
            scale: of the actuator, in whose coordinate laws work.
            log_reading: take logarithms of the readings, as a PID with `log_error` does.
            reading: which observer of a coupled loop.
            knob: which actuator of a coupled loop.

        Raises:
            AnalysisError: there are no such columns, or no such scale.
        """
        if scale not in {"linear", "log"}:
            msg = f"scale must be 'linear' or 'log'; got {scale!r}. Take the actuator's."
            raise AnalysisError(msg)
        wanted = ("tick", f"reading.{reading}", f"delivered.{knob}")
        if missing := [name for name in wanted if name not in columns]:
            msg = f"A loop's columns must hold {', '.join(wanted)}; got none called {missing[0]}. Use `Trace.loop`."
            raise AnalysisError(msg)
        ticks, readings, knobs = (np.asarray(columns[name], dtype=np.float64) for name in wanted)
        # A decision made again at one tick (after a resume) replaces the first.
        last = np.append(np.diff(ticks) > 0, True)
        with np.errstate(divide="ignore", invalid="ignore"):
            readings = np.log(readings) if log_reading else readings
            knobs = np.log(knobs) if scale == "log" else knobs
        return cls.of(ticks[last], readings[last], knobs[last], log_reading=log_reading)

    @classmethod
    def from_run(cls, run: RecordedRun, loop: str, *, reading: int = 0, knob: int = 0) -> Self:
        """Take a loop of a run that `homeostat.sinks.read_run` has read; its scale and law are in the description.

        Raises:
            AnalysisError: the run has no such loop.
        """
        described = {each["name"]: each for each in run.description["loops"]}
        if loop not in run.loops or loop not in described:
            msg = f"The run must hold loop {loop!r}; got {', '.join(run.loops) or 'none'}. Name one of them."
            raise AnalysisError(msg)
        parts = described[loop]
        scale, logs = parts["actuators"][knob]["scale"], _compares_logs(parts["law"])
        return cls.from_columns(run.loops[loop], scale=scale, log_reading=logs, reading=reading, knob=knob)

    @property
    def every(self) -> int:
        """Ticks between two decisions: the usual distance."""
        return int(np.median(np.diff(self.tick))) if len(self.tick) > 1 else 1

    @property
    def span(self) -> float:
        """Ticks from first to last."""
        return float(self.tick[-1] - self.tick[0])

    @property
    def step(self) -> int:
        """The greatest distance of which every tick is a multiple, from the first."""
        return max(math.gcd(*np.diff(self.tick).astype(np.int64).tolist()), 1)

    def on_grid(self) -> tuple[Array, NDArray[np.int64]]:
        """Return the knob at every step, and the steps that have a reading; the first decision is step 0.

        The knob is held between decisions, as the plant saw it.
        """
        places = ((self.tick - self.tick[0]) / self.step).astype(np.int64)
        held = np.repeat(self.knob, np.diff(np.append(places, places[-1] + 1)))
        return held, places[np.isfinite(self.reading)]


def _compares_logs(law: Mapping[str, Any]) -> bool:
    """Whether a described law, or one chained in it, works on the reading's logarithm."""
    return bool(law.get("log_error")) or any(map(_compares_logs, law.get("laws", ())))
