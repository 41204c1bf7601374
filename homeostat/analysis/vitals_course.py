"""What a loop did, decision by decision: of the records in memory, or of columns from disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from homeostat.trace import Record

Array = NDArray[np.float64]

_PRESSED = frozenset({"low", "high"})


class Course(NamedTuple):
    """What a loop did, one row a decision.

    Attributes:
        tick: shape (n,).
        readings: shape (n, readings).
        setpoints: shape (n, readings), or (n, 0) without.
        delivered: knob values in their own units, shape (n, knobs).
        limited: whether a knob was at a limit, shape (n,).
    """

    tick: Array
    readings: Array
    setpoints: Array
    delivered: Array
    limited: NDArray[np.bool_]


def course_of_records(records: Sequence[Record]) -> Course:
    """Return the course that a loop's records, at least one, describe."""
    return Course(
        tick=np.array([record.tick for record in records], dtype=np.float64),
        readings=np.array([record.readings for record in records]),
        setpoints=np.array([record.setpoints for record in records]),
        delivered=np.array([record.delivered for record in records]),
        limited=np.array([not _PRESSED.isdisjoint(record.limits) for record in records]),
    )


def course_of_columns(columns: Mapping[str, Array], last: int | None = None) -> Course:
    """Return the course that a loop's columns, as `Trace.loop` names them, describe; its `last` rows only."""
    rows = slice(None if last is None else -last, None)
    tick = columns["tick"][rows]

    def together(name: str) -> Array:
        found = sorted((c for c in columns if c.startswith(f"{name}.")), key=lambda c: int(c.rpartition(".")[2]))
        return np.column_stack([columns[c][rows] for c in found]) if found else np.empty((len(tick), 0))

    limited = np.logical_or.reduce([columns[limit][rows] == 1.0 for limit in _PRESSED])
    return Course(tick, together("reading"), together("setpoint"), together("delivered"), limited)
