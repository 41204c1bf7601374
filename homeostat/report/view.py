"""A run as the report sees it: every loop's readings and knobs, with what the description knows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from homeostat.report.curves import Array, Mask
from homeostat.sinks.run import Columns, Run


class Reading(NamedTuple):
    """What one observer of a loop measured; `setpoint` is None where nothing was wanted."""

    name: str
    values: Array
    setpoint: Array | None


class Knob(NamedTuple):
    """What one actuator of a loop delivered; limits that nobody recorded are NaN."""

    name: str
    values: Array
    low: float
    high: float
    log: bool
    saturated: Mask


class LoopView(NamedTuple):
    """One loop; without ticks where it never decided."""

    name: str
    law: str
    every: int
    ticks: Array
    readings: list[Reading]
    knobs: list[Knob]
    held: Mask
    external: Mask
    alarm: Mask
    parts: Mapping[str, Any]


def loop_views(run: Run) -> list[LoopView]:
    """Return every loop of the description in its order, then loops that only the records know."""
    described = {str(loop["name"]): loop for loop in run.description.get("loops", ())}
    names = [*described, *(name for name in run.loops if name not in described)]
    return [_view(name, described.get(name, {}), run.loops.get(name, {})) for name in names]


def _view(name: str, parts: Mapping[str, Any], columns: Columns) -> LoopView:
    n = len(columns.get("tick", ()))
    observers, actuators = parts.get("observers", ()), parts.get("actuators", ())

    def flag(limit: str) -> Mask:
        return np.asarray(columns[limit] == 1.0) if limit in columns else np.zeros(n, dtype=bool)

    readings = [
        Reading(_kind(observers, i, "reading"), columns[f"reading.{i}"], columns.get(f"setpoint.{i}"))
        for i in _numbered(columns, "reading")
    ]
    at_limit = flag("low") | flag("high")
    knobs = [_knob(actuators, i, columns, at_limit) for i in _numbered(columns, "delivered")]
    return LoopView(
        name=name,
        law=_kind([parts.get("law", {})], 0, "law"),
        every=int(parts.get("every", 1)),
        ticks=columns.get("tick", np.empty(0)),
        readings=readings,
        knobs=knobs,
        held=flag("held"),
        external=flag("external"),
        alarm=flag("alarm"),
        parts=parts,
    )


def _knob(actuators: Sequence[Mapping[str, Any]], i: int, columns: Columns, at_limit: Mask) -> Knob:
    part = actuators[i] if i < len(actuators) else {}
    low, high = float(part.get("low", np.nan)), float(part.get("high", np.nan))
    if "delivered.1" in columns and np.isfinite([low, high]).all():
        # A record says that some knob of the loop was limited; the admitted value says which.
        admitted = columns[f"admitted.{i}"]
        at_limit = at_limit & (np.isclose(admitted, low, 1e-9, 0.0) | np.isclose(admitted, high, 1e-9, 0.0))
    log = part.get("scale") == "log"
    return Knob(_kind(actuators, i, "knob"), columns[f"delivered.{i}"], low, high, log, at_limit)


def _kind(parts: Sequence[Mapping[str, Any]], i: int, default: str) -> str:
    return str(parts[i].get("kind", default)) if i < len(parts) else default


def _numbered(columns: Columns, name: str) -> list[int]:
    return sorted(int(column.rpartition(".")[2]) for column in columns if column.startswith(f"{name}."))
