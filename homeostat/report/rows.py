"""Panels on one tick axis, the canvas of every figure of the report."""

from __future__ import annotations

from html import escape
from textwrap import wrap
from typing import Any

import numpy as np
import plotly.graph_objects as go

from homeostat.report import style
from homeostat.report.curves import Array, thin

ROW = 190
TOP, GAP, BOTTOM, LEFT = 34, 46, 40, 58
# Characters a line of what is told when hovering: what fits a phone.
TEXT_WIDTH = 34


class Rows:
    """Panels below each other on one tick axis; each is drawn on by its number, from 1.

    Args:
        titles: one a panel, shown at its upper left; names in them must be escaped.
        last_tick: where the axis ends.
        heights: pixels of each panel.
    """

    def __init__(self, titles: list[str], last_tick: int, heights: list[int] | None = None) -> None:
        heights = heights or [ROW] * len(titles)
        inner = sum(heights) + GAP * (len(heights) - 1)
        self.thinned = False
        self.figure = go.Figure(layout=_layout(inner, last_tick, bottom=len(titles)))
        top = inner
        for row, (title, height) in enumerate(zip(titles, heights, strict=True), start=1):
            self.axis(row, domain=[max(0.0, (top - height) / inner), top / inner], **AXIS)
            self.figure.add_annotation(
                text=title, x=0, xref="paper", xanchor="left", y=top / inner, yref="paper", yanchor="bottom",
                yshift=5, xshift=6 - LEFT, showarrow=False, font_size=13,
            )  # fmt: skip
            top -= height + GAP

    def axis(self, row: int, **settings: Any) -> None:
        """Change the vertical axis of a panel."""
        self.figure.update_layout({f"yaxis{row}": settings})

    def line(self, row: int, x: Array, y: Array, name: str, *, colour: str, **look: Any) -> None:
        """Draw a curve, thinned where it is long; few points are also marked."""
        curve = thin(x, y)
        few = np.isfinite(curve.y).sum() <= 60
        pen: dict[str, Any] = {"color": colour, "width": look.pop("width", 1.6), **look.pop("line", {})}
        look.setdefault("mode", "lines+markers" if few else "lines")
        look.setdefault("marker", {"size": 5, "color": colour})
        self.thinned |= curve.thinned
        self._draw(row, curve.x, curve.y, name, line=pen, hovertemplate="%{y:.4~g}", **look)

    def marks(self, row: int, x: Array, y: Array, name: str, *, colour: str, symbol: str) -> None:
        """Mark single decisions; nothing is drawn where there are none."""
        if not len(x):
            return
        curve = thin(x, y)
        marker = {"color": colour, "symbol": symbol, "size": 7, "line": {"width": 1.5, "color": colour}}
        self.thinned |= curve.thinned
        self._draw(row, curve.x, curve.y, name, mode="markers", marker=marker, hovertemplate="%{y:.4~g}")

    def lane(
        self, row: int, x: Array, height: float, name: str, *, texts: list[str], colours: list[str], symbol: str
    ) -> None:
        """Mark moments along one line, whose name stands above its left end."""
        marker = {"color": colours, "symbol": symbol, "size": 8, "line": {"width": 1.5, "color": colours}}
        told = ["<br>".join(map(escape, wrap(text, TEXT_WIDTH))) for text in texts]
        y = np.full(len(x), height)
        self._draw(row, x, y, name, mode="markers", marker=marker, text=told, hovertemplate="%{text}")
        self.level(row, height, color=style.GRID, dash="solid")
        self.figure.add_annotation(
            text=escape(name), x=0, xref="paper", xanchor="left", y=height, yref=_axis(row), yanchor="bottom",
            yshift=5, showarrow=False, font_size=11, font_color=style.QUIET,
        )  # fmt: skip

    def level(self, row: int, value: float, **pen: Any) -> None:
        """Draw a line at one value; unlike a curve it does not stretch the axis to a value that is far away."""
        self.figure.add_shape(
            type="line", xref="paper", x0=0, x1=1, yref=_axis(row), y0=value, y1=value, layer="below", line=PEN | pen
        )

    def moment(self, row: int, tick: float) -> None:
        """Draw a line at one tick."""
        self.figure.add_shape(type="line", x0=tick, x1=tick, yref=f"{_axis(row)} domain", y0=0, y1=1, line=PEN)

    def _draw(self, row: int, x: Array, y: Array, name: str, **look: Any) -> None:
        self.figure.add_trace(go.Scatter(x=x, y=y, name=escape(name), yaxis=_axis(row), **look))


AXIS: dict[str, Any] = {
    "gridcolor": style.GRID,
    "zeroline": False,
    "nticks": 6,
    "fixedrange": True,
    "exponentformat": "power",
    "minexponent": 4,
}
PEN: dict[str, Any] = {"color": style.QUIET, "width": 1.2, "dash": "dot"}


def _layout(inner: int, last_tick: int, bottom: int) -> dict[str, Any]:
    margin = max(1.0, 0.01 * last_tick)
    return {
        "template": "plotly_white",
        "height": inner + TOP + BOTTOM,
        "margin": {"l": LEFT, "r": 14, "t": TOP, "b": BOTTOM},
        "font": {"family": style.FONT, "size": 12, "color": style.INK},
        "showlegend": False,
        # With one tick axis for all panels, hovering reads every panel at once.
        "hovermode": "x unified",
        "hoversubplots": "axis",
        "hoverlabel": {"bgcolor": "rgba(255,255,255,0.94)", "bordercolor": "#C9CED3", "font_size": 12},
        "xaxis": {
            "anchor": _axis(bottom),
            "range": [-margin, last_tick + margin],
            "gridcolor": style.GRID,
            "zeroline": False,
            "nticks": 7,
            "separatethousands": True,
            "title": {"text": "tick", "standoff": 4},
            "unifiedhovertitle": {"text": "tick %{x}"},
        },
    }


def _axis(row: int) -> str:
    return "y" if row == 1 else f"y{row}"
