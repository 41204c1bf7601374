"""A run in plain words and few numbers."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from homeostat.report.curves import Array, Mask
from homeostat.report.view import Knob, LoopView
from homeostat.sinks.run import Run


class Travel(NamedTuple):
    """Where one knob went, and how long it stood at a limit; NaN where nothing finite was delivered."""

    knob: str
    start: float
    end: float
    least: float
    greatest: float
    saturated: float


class LoopSummary(NamedTuple):
    """One loop in numbers; fractions are of its decisions."""

    name: str
    decisions: int
    held: float
    travels: list[Travel]


def summarize(view: LoopView) -> LoopSummary:
    """Return what one loop did, in numbers."""
    return LoopSummary(view.name, len(view.ticks), fraction(view.held), [_travel(knob) for knob in view.knobs])


def headline(run: Run, summaries: list[LoopSummary]) -> str:
    """Say in two or three sentences how long the run was and what its loops did."""
    deciding = [summary for summary in summaries if summary.decisions]
    moved = [t for summary in deciding for t in summary.travels if t.greatest > t.least]
    knobs = sum(len(summary.travels) for summary in deciding)
    text = f"{count(run.ticks, 'tick')} recorded, with {count(len(summaries), 'loop')}. "
    if deciding:
        decisions = sum(summary.decisions for summary in deciding)
        text += f"Together they made {count(decisions, 'decision')}; {len(moved)} of {count(knobs, 'knob')} moved. "
    acted = Counter(i.answer for i in run.interventions if not i.advised)
    if acted:
        told = ", ".join(f"{answer} {n}" for answer, n in acted.items())
        text += f"Guards intervened {count(acted.total(), 'time')} ({told}). "
    pinned = sorted({summary.name for summary in deciding if any(t.saturated > 0.5 for t in summary.travels)})
    if pinned:
        text += f"Most of the time at a limit: {', '.join(pinned)}. "
    silent = [summary.name for summary in summaries if not summary.decisions]
    if silent:
        text += f"Never decided: {', '.join(silent)}. "
    return text.strip()


def sentence(view: LoopView, run: Run) -> str:
    """Say what one loop did, or why it may not have done anything."""
    summary = summarize(view)
    if not summary.decisions:
        return (
            f"This loop never decided in {count(run.ticks, 'tick')}: its reading is due every "
            f"{count(view.every, 'tick')}, and none arrived."
        )
    parts = [f"{count(summary.decisions, 'decision')} by {view.law}."]
    for travel in summary.travels:
        if np.isnan(travel.start):
            parts.append(f"{travel.knob} delivered no finite value.")
        elif travel.least == travel.greatest:
            parts.append(f"{travel.knob} stayed at {number(travel.start)}.")
        else:
            parts.append(
                f"{travel.knob} went from {number(travel.start)} to {number(travel.end)}, "
                f"between {number(travel.least)} and {number(travel.greatest)}."
            )
        if travel.saturated:
            parts.append(f"It stood at a limit in {percent(travel.saturated)} of them.")
    if summary.held:
        parts.append(f"Held in {percent(summary.held)}.")
    return " ".join(parts)


def number(value: float) -> str:
    """Write a number for people: four significant digits."""
    return f"{value:.4g}" if np.isfinite(value) else "not finite"


def percent(share: float) -> str:
    """Write a share for people; what happened at all is never written as 0 %."""
    if 0 < share < 0.001:
        return "under 0.1 %"
    return f"{100 * share:.1f} %" if 0 < share < 0.1 or 0.9 < share < 1 else f"{100 * share:.0f} %"


def count(n: int, noun: str) -> str:
    """Write a number of things: 1 tick, 12 000 ticks."""
    return f"{grouped(n)} {noun}{'' if n == 1 else 's'}"


def grouped(n: int) -> str:
    """Write a whole number with narrow spaces between thousands."""
    return f"{n:,}".replace(",", "\u202f")


def fraction(mask: Mask) -> float:
    """Return the share of decisions that are marked; 0 where there were none."""
    return float(mask.mean()) if len(mask) else 0.0


def _travel(knob: Knob) -> Travel:
    finite: Array = knob.values[np.isfinite(knob.values)]
    if not len(finite):
        return Travel(knob.name, np.nan, np.nan, np.nan, np.nan, fraction(knob.saturated))
    return Travel(
        knob=knob.name,
        start=float(finite[0]),
        end=float(finite[-1]),
        least=float(finite.min()),
        greatest=float(finite.max()),
        saturated=fraction(knob.saturated),
    )
