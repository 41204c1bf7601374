"""When something intervened: one lane for events, one for each knob that moved."""

from __future__ import annotations

from itertools import groupby, pairwise
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from homeostat.report import style
from homeostat.report.curves import Array
from homeostat.report.rows import Rows
from homeostat.report.summary import number
from homeostat.report.view import Knob, LoopView
from homeostat.sinks.run import Run

LANE = 36
# A knob's move is marked once it adds up to this share of all its travel.
NOTABLE = 0.1
# A knob that follows noise would fill its lane; it gets fewer marks, of larger moves.
MOST_MARKS = 300


class Lane(NamedTuple):
    """Marks of one kind; `limited` tells which of them happened at a limit."""

    name: str
    ticks: Array
    texts: list[str]
    limited: Array
    symbol: str


def interventions(views: list[LoopView], run: Run) -> list[Lane]:
    """Return a lane of events and one of what guards did, where there are any, and one for each knob that moved."""
    told = [("Events", [(e.tick, e.text) for e in run.events], "circle")]
    # A replay sets the tick back.
    told += [("Guards", sorted((i.tick, i.sentence) for i in run.interventions), "x")]
    lanes = [_texts(name, texts, symbol) for name, texts, symbol in told if texts]
    for view in views:
        for knob in view.knobs:
            name = view.name if len(view.knobs) == 1 else f"{view.name}: {knob.name}"
            lanes.extend(_moves(name, view.ticks, knob))
    return lanes


def lane_height(lanes: list[Lane]) -> int:
    """Return the pixels that the lanes need together."""
    return LANE * len(lanes) + 6


def draw_lanes(rows: Rows, row: int, lanes: list[Lane]) -> None:
    """Draw the lanes from top to bottom, each under its name."""
    for place, lane in enumerate(lanes):
        height = float(len(lanes) - place)
        rows.lane(row, lane.ticks, height, lane.name, texts=lane.texts, colours=_colours(lane), symbol=lane.symbol)
    rows.axis(row, range=[0.5, len(lanes) + 0.7], visible=False)


def _texts(name: str, told: list[tuple[int, str]], symbol: str) -> Lane:
    """Return a lane of texts, those of one tick joined."""
    joined = [(tick, "; ".join(text for _, text in same)) for tick, same in groupby(told, itemgetter(0))]
    ticks = np.array([float(tick) for tick, _ in joined])
    return Lane(name, ticks, [text for _, text in joined], np.zeros(len(joined)), symbol)


def _colours(lane: Lane) -> list[str]:
    usual = {"circle": style.INK, "x": style.ALARM}.get(lane.symbol, style.KNOB)
    return [style.LIMITED if limited else usual for limited in lane.limited]


def _moves(name: str, ticks: Array, knob: Knob) -> list[Lane]:
    known = np.isfinite(knob.values) & ((knob.values > 0) | (not knob.log))
    values = knob.values[known]
    position = np.log(values) if knob.log else values
    if len(values) < 2 or np.ptp(position) == 0:
        return []
    marked = _notable(position)
    texts = [f"{number(values[a])} to {number(values[b])}" for a, b in pairwise(marked)]
    at = np.array(marked[1:])
    return [Lane(name, ticks[known][at], texts, knob.saturated[known][at], "line-ns")]


def _notable(position: Array) -> list[int]:
    share, marked = NOTABLE, list(range(len(position)))
    while len(marked) > MOST_MARKS or share == NOTABLE:
        marked = [0]
        for i, place in enumerate(position):
            if abs(place - position[marked[-1]]) >= share * np.ptp(position):
                marked.append(i)
        share *= 1.5
    return marked
