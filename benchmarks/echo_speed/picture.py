"""Time against length, both in logarithms, as an SVG."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from homeostat.report.style import FONT, GRID, INK, KNOB, LIMITED, QUIET, READING

COLOURS = {"all heads local": READING, "half of them": KNOB, "no head local": LIMITED}
LEFT, TOP, WIDE, HIGH = 70, 40, 520, 300


def draw(raw: Sequence[dict[str, Any]]) -> str:
    """A line for each kind of heads, its exponent beside its name."""
    lengths = [entry["length"] for entry in raw]
    seconds = {name: [statistics.median(entry["times_s"][name]) for entry in raw] for name in COLOURS}
    every = [s for line in seconds.values() for s in line]
    across = _scale(lengths[0], lengths[-1], LEFT, LEFT + WIDE)
    decades = range(math.floor(math.log10(min(every))), math.ceil(math.log10(max(every))) + 1)
    up = _scale(10.0 ** decades[0], 10.0 ** decades[-1], TOP + HIGH, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDE + 150} {TOP + HIGH + 60}" '
        f'font-family="{FONT}" font-size="12" fill="{INK}"><rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{LEFT}" y="{TOP - 16}" font-weight="600">One layer, forward and backward: milliseconds</text>',
    ]
    for decade in decades:
        y = up(10.0**decade)
        parts.append(f'<path d="M{LEFT},{y:.1f}h{WIDE}" stroke="{GRID}"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="{QUIET}">{10.0 ** (decade + 3):g}</text>'
        )
    parts += [_label(across(length), TOP + HIGH + 18, str(length)) for length in lengths]
    parts.append(_label(LEFT + WIDE / 2, TOP + HIGH + 38, "positions"))
    for name, line in seconds.items():
        parts += _line(name, [(across(n), up(s)) for n, s in zip(lengths, line, strict=True)])
    return "\n".join([*parts, "</svg>"]) + "\n"


def _scale(low: float, high: float, start: float, end: float) -> Any:
    return lambda value: start + (end - start) * math.log(value / low) / math.log(high / low)


def _label(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" fill="{QUIET}">{text}</text>'


def _line(name: str, points: list[tuple[float, float]]) -> Iterator[str]:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f'<polyline points="{joined}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>'
    for x, y in points:
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{COLOURS[name]}"/>'
    x, y = points[-1]
    yield f'<text x="{x + 10:.1f}" y="{y + 4:.1f}" fill="{COLOURS[name]}">{name}</text>'
