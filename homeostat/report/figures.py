"""The report's figures: the metrics with what intervened, and each loop's readings and knobs."""

from __future__ import annotations

from html import escape

import numpy as np

from homeostat.report import style
from homeostat.report.curves import Mask, last_finite, smooth, value_axis
from homeostat.report.lanes import draw_lanes, interventions, lane_height
from homeostat.report.rows import Rows
from homeostat.report.summary import number
from homeostat.report.view import Knob, LoopView, Reading
from homeostat.sinks.run import Columns, Run

# More lines than this would hide the loss they are to explain; the lanes below hold every event.
MOST_LINES = 40


def overview_figure(run: Run, views: list[LoopView]) -> Rows:
    """Draw every metric over ticks, all losses in the first panel, and below them when events and knobs intervened.

    A noisy curve is shown pale, its running mean over 1 % of it on top.
    """
    losses = [name for name in run.metrics if "loss" in name.lower()]
    groups = [losses] if losses else []
    groups += [[name] for name in run.metrics if name not in losses]
    lanes = interventions(views, run)
    heights = [130 if i else 260 for i in range(len(groups))] + ([lane_height(lanes)] if lanes else [])
    titles = [", ".join(map(_coloured, group, style.SERIES * len(group))) for group in groups] + (
        ["Interventions"] if lanes else []
    )
    rows = Rows(titles, run.ticks, heights)
    for row, group in enumerate(groups, start=1):
        for i, name in enumerate(group):
            _draw_metric(rows, row, name, run.metrics[name], style.SERIES[i % len(style.SERIES)])
        rows.axis(row, **value_axis(np.concatenate([run.metrics[name]["value"] for name in group])))
    if lanes:
        draw_lanes(rows, len(titles), lanes)
        for event in run.events[-MOST_LINES:] if groups else ():
            rows.moment(1, event.tick)
    return rows


def vitals_colours(run: Run) -> dict[str, str]:
    """Return the colour of each loop in the figure of the vitals."""
    names = dict.fromkeys(name for vitals in run.vitals for name in vitals.loops)
    return {name: style.SERIES[i % len(style.SERIES)] for i, name in enumerate(names)}


def vitals_figure(run: Run) -> Rows:
    """Draw homeostasis over ticks, and pale below it the regulation of each loop, as the run recorded them."""
    rows = Rows(["Homeostasis, and the regulation of each loop"], run.ticks, [220])
    ticks = np.array([float(vitals.tick) for vitals in run.vitals])
    for name, colour in vitals_colours(run).items():
        values = [v.loops[name].regulation if name in v.loops else np.nan for v in run.vitals]
        rows.line(1, ticks, np.array(values), name, colour=colour, width=1.2, opacity=0.6, mode="lines")
    overall = np.array([vitals.homeostasis for vitals in run.vitals])
    rows.line(1, ticks, overall, "homeostasis", colour=style.INK, width=2.6)
    rows.axis(1, range=[-0.03, 1.05])
    return rows


def _coloured(name: str, colour: str) -> str:
    return f'<span style="color:{colour}">{escape(name)}</span>'


def _draw_metric(rows: Rows, row: int, name: str, columns: Columns, colour: str) -> None:
    x, y = columns["tick"], columns["value"]
    window = len(x) // 100
    if window < 3:
        rows.line(row, x, y, name, colour=colour)
        return
    rows.line(row, x, y, name, colour=colour, width=1.0, opacity=0.3)
    rows.line(row, x, smooth(y, window), f"{name}, mean of {window}", colour=colour, width=2.0)


def loop_figure(view: LoopView, last_tick: int) -> Rows:
    """Draw a loop: each reading against its setpoint, then each knob within its limits, with what held it."""
    titles = [f"Reading: {escape(reading.name)}" for reading in view.readings]
    titles += [f"Knob: {escape(knob.name)}{_limits(knob)}" for knob in view.knobs]
    rows = Rows(titles, last_tick)
    for row, reading in enumerate(view.readings, start=1):
        _draw_reading(rows, row, view, reading)
    for row, knob in enumerate(view.knobs, start=1 + len(view.readings)):
        _draw_knob(rows, row, view, knob)
    return rows


def _draw_reading(rows: Rows, row: int, view: LoopView, reading: Reading) -> None:
    together = reading.values
    if reading.setpoint is not None:
        rows.line(row, view.ticks, reading.setpoint, "setpoint", colour=style.INK, mode="lines", line={"dash": "dash"})
        together = np.concatenate([together, reading.setpoint])
    rows.line(row, view.ticks, reading.values, "reading", colour=style.READING)
    lost = ~np.isfinite(reading.values)
    rows.marks(
        row,
        view.ticks[lost],
        last_finite(reading.values)[lost],
        "not finite, last was",
        colour=style.HELD,
        symbol="x-thin",
    )
    rows.axis(row, **value_axis(together))


def _draw_knob(rows: Rows, row: int, view: LoopView, knob: Knob) -> None:
    limited = np.where(knob.saturated, knob.values, np.nan)
    if knob.saturated.any():
        rows.line(
            row,
            view.ticks,
            limited,
            "at a limit",
            colour=style.LIMITED,
            width=7,
            opacity=0.45,
            line={"shape": "hv"},
            mode="lines+markers",
        )
    rows.line(row, view.ticks, knob.values, "knob", colour=style.KNOB, line={"shape": "hv"})
    for limit in (knob.low, knob.high):
        if np.isfinite(limit):
            rows.level(row, limit)
    shown = last_finite(knob.values)
    kinds: tuple[tuple[Mask, str, str, str], ...] = (
        (view.held, "held at", style.HELD, "x-thin"),
        (view.external, "moved by something else to", style.INK, "diamond-open"),
        (view.alarm, "alarm at", style.ALARM, "triangle-up"),
    )
    for mask, name, colour, symbol in kinds:
        rows.marks(row, view.ticks[mask], shown[mask], name, colour=colour, symbol=symbol)
    low, high = knob_range(knob)
    if knob.log:
        low, high = np.log10([low, high])
    rows.axis(row, type="log" if knob.log else "linear", range=[low, high])


def knob_range(knob: Knob) -> tuple[float, float]:
    """Return the part of the axis to show: all the knob did, and each limit that is no further away than it moved."""
    change, back = (np.log, np.exp) if knob.log else (np.asarray, np.asarray)
    drawn = knob.values[np.isfinite(knob.values) & ((knob.values > 0) | (not knob.log))]
    finite = change(drawn) if len(drawn) else np.zeros(1)
    low, high = float(finite.min()), float(finite.max())
    reach = max(high - low, 0.05 * max(abs(low), abs(high)), 0.1 if knob.log else 1e-12)
    limits = [float(change(limit)) for limit in (knob.low, knob.high) if np.isfinite(limit)]
    near = [limit for limit in limits if low - reach <= limit <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    room = 0.08 * max(high - low, reach)
    return float(back(low - room)), float(back(high + room))


def _limits(knob: Knob) -> str:
    scale = ", log scale" if knob.log else ""
    if np.isfinite([knob.low, knob.high]).all():
        return f" ({number(knob.low)} to {number(knob.high)}{scale})"
    return f" ({scale[2:]})" if scale else ""
