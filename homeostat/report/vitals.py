"""The vitals of a run as the report shows them: in words, as a table, and over the ticks."""

from __future__ import annotations

import math
from html import escape

from homeostat.analysis import run_vitals
from homeostat.report.summary import percent
from homeostat.report.table import Cell, table
from homeostat.sinks.run import Run
from homeostat.trace import LoopVitals, Vitals

NAMES = ("Loop", "Verdict", "Regulation", "In band", "Harris", "Oscillation", "At a limit", "Held", "Travel")


def vitals_summary(run: Run, links: dict[str, str]) -> str:
    """Return a sentence and a table of how well each loop did over the whole run; nothing without decisions.

    Args:
        run: as it was recorded.
        links: where each loop's section is.
    """
    vitals = run_vitals(run)
    if not vitals.loops:
        return ""
    rows = [_row(name, loop, links.get(name, "")) for name, loop in vitals.loops.items()]
    return f"<p>{_sentence(vitals)}</p>{table(NAMES, rows)}"


def verdict(loop: LoopVitals) -> str:
    """Say in a few words how a loop did: the most serious that is true of it."""
    cases = (
        (math.isnan(loop.regulation), "too few decisions"),
        (loop.held > 0.5, "mostly held"),
        (loop.regulation < 0.9 and loop.saturation > 0.5, "at its limit"),
        (math.isnan(loop.in_band), "no setpoint"),
        (loop.regulation >= 0.9, "steady"),
        (loop.oscillation > 0.5, "oscillates"),
        (loop.regulation >= 0.5, "at times off its setpoint"),
        (True, "off its setpoint"),
    )
    return next(words for true, words in cases if true)


def _sentence(vitals: Vitals) -> str:
    if math.isnan(vitals.homeostasis):
        return "Homeostasis is judged by loops with a setpoint, from their twentieth decision on; there is none yet."
    return (
        f"Homeostasis over the whole run: <b>{vitals.homeostasis:.2f}</b>, the geometric mean of the regulation of "
        "loops with a setpoint. An error within the band counts 1, one of k bands 1 / k; the band is as wide as noise, "
        "dead band or 2 % of the setpoint make it. Travel is in ranges of the knob in 1000 ticks."
    )


def _row(name: str, loop: LoopVitals, link: str) -> list[Cell]:
    judged = not math.isnan(loop.regulation)
    return [
        Cell(f'<a href="#{link}">{escape(name)}</a>' if link else escape(name)),
        Cell(verdict(loop), warn=judged and loop.regulation < 0.5),
        Cell(_plain(loop.regulation)),
        Cell(_share(loop.in_band)),
        Cell(_plain(loop.harris)),
        Cell(_plain(loop.oscillation), warn=loop.oscillation > 0.5),
        Cell(_share(loop.saturation), warn=loop.saturation > 0.5),
        Cell(_share(loop.held), warn=loop.held > 0.5),
        Cell(f"{1000 * loop.travel:.2g}" if math.isfinite(loop.travel) else "\u2013"),
    ]


def _plain(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "\u2013"


def _share(value: float) -> str:
    return percent(value) if math.isfinite(value) else "\u2013"
