"""WER against minutes, a panel for each task, as an SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import mean
from typing import Any

from homeostat.report.style import FONT, GRID, INK, KNOB, LIMITED, QUIET, READING

LINES = {
    "whisper": ("Whisper", LIMITED, ""),
    "echo": ("Echo", READING, ""),
    "echo+recipe": ("Echo with recipe", KNOB, "6 4"),
}
TITLES = {
    "digits": "single digits",
    "strings": "strings of digits",
    "speaker": "unseen speaker, digits",
    "sentences": "sentences",
}
PANEL, HIGH, GAP, TOP, LEFT = 230, 240, 40, 50, 55
LEAST = 0.1
"""Per cent; an error rate below it, as of no error at all, is drawn here."""


def draw(tasks: dict[str, list[dict[str, Any]]]) -> str:
    """The picture: a point for each seed, a line through their means, Echo read with decoder and CTC head together."""
    width = LEFT + len(tasks) * (PANEL + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {TOP + HIGH + 70}" font-family="{FONT}" '
        f'font-size="12" fill="{INK}"><rect width="100%" height="100%" fill="#fff"/>'
    ]
    for number, (task, runs) in enumerate(tasks.items()):
        parts += _panel(LEFT + number * (PANEL + GAP), TITLES[task], runs)
    for number, (label, colour, dash) in enumerate(LINES.values()):
        x, y = LEFT + 150 * number, TOP + HIGH + 55
        parts.append(f'<path d="M{x},{y - 4}h26" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
        parts.append(f'<text x="{x + 32}" y="{y}">{label}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(left: float, title: str, runs: list[dict[str, Any]]) -> Iterator[str]:
    marks = common_marks(runs)
    yield f'<text x="{left}" y="{TOP - 18}" font-weight="600">{title}: WER, %</text>'
    for level in (0.1, 1.0, 10.0, 100.0):
        yield f'<path d="M{left},{_height(level):.1f}h{PANEL}" stroke="{GRID}"/>'
        yield f'<text x="{left - 6}" y="{_height(level) + 4:.1f}" text-anchor="end" fill="{QUIET}">{level:g}</text>'
    for mark in marks:
        x = left + PANEL * mark / marks[-1]
        yield f'<text x="{x:.1f}" y="{TOP + HIGH + 18}" text-anchor="middle" fill="{QUIET}">{mark:g}</text>'
    yield f'<text x="{left + PANEL / 2}" y="{TOP + HIGH + 34}" text-anchor="middle" fill="{QUIET}">minutes</text>'
    for name, (_, colour, dash) in LINES.items():
        own = [run for run in runs if run["contender"] == name]
        points = [(p["minutes"], _rate(p)) for run in own for p in run["curve"] if p["minutes"] in marks]
        line = []
        for mark in marks if own else ():
            x, rates = left + PANEL * mark / marks[-1], [rate for minutes, rate in points if minutes == mark]
            line.append(f"{x:.1f},{_height(mean(rates)):.1f}")
            for rate in rates:
                yield f'<circle cx="{x:.1f}" cy="{_height(rate):.1f}" r="2.5" fill="{colour}"/>'
        shape = f'points="{" ".join(line)}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
        yield f"<polyline {shape}/>"


def common_marks(runs: Sequence[dict[str, Any]]) -> list[float]:
    """Minutes at which every run of the contenders proper was read."""
    marks = [{point["minutes"] for point in run["curve"]} for run in runs if run["contender"] in LINES]
    return sorted(set.intersection(*marks))


def _rate(point: dict[str, Any]) -> float:
    return 100 * float(point["wer"].get("joint", point["wer"]["greedy"]))


def _height(rate: float) -> float:
    return TOP + HIGH * (2.0 - math.log10(min(max(rate, LEAST), 100.0))) / 3.0
