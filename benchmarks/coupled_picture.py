"""The picture of `coupled`: both readings of both plants, with a loop each and with the coupled law."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from homeostat import Profile
from homeostat.report.style import FONT, GRID, INK, LIMITED, QUIET, READING
from homeostat.simulation import SimulatedRun

SERIES = {"independent": ("two PI loops", LIMITED), "coupled": ("coupled law", READING)}
SIZE = {"width": 1100, "height": 560}


def draw(
    simulated: dict[str, SimulatedRun], trained: dict[str, dict[str, list[float]]], goals: Any, path: Path
) -> None:
    """Draw the readings as an SVG; needs plotly, playwright and a Chromium on the path."""
    import plotly.graph_objects as go  # noqa: PLC0415 - only the picture needs it
    from plotly.subplots import make_subplots  # noqa: PLC0415

    titles = [
        "Simulated: first reading",
        "Trained: log size of the weights",
        "Simulated: second reading",
        "Trained: log relative update",
    ]
    figure = make_subplots(2, 2, subplot_titles=titles, shared_xaxes=True, vertical_spacing=0.1)
    for name, (label, colour) in SERIES.items():
        for row, key in enumerate(("size", "update"), start=1):
            course = np.convolve(trained[name][key], np.ones(20) / 20, "valid")
            columns = (
                (simulated[name].reading[:, row - 1], np.arange(len(simulated[name].reading))),
                (
                    course,
                    np.arange(19, 19 + len(course)),
                ),
            )
            for column, (values, ticks) in enumerate(columns, start=1):
                line = {"color": colour, "width": 1.6}
                first = (row, column) == (1, 1)
                trace = go.Scatter(x=ticks, y=values, name=label, mode="lines", line=line, showlegend=first)
                figure.add_trace(trace, row, column)
    for row in (1, 2):
        for column in (1, 2):
            goal = goals[row - 1]
            trained_goal = [
                goal.at(t) if isinstance(goal, Profile) else goal for t in range(len(trained["coupled"]["size"]))
            ]
            values = simulated["coupled"].setpoint[:, row - 1] if column == 1 else np.array(trained_goal)
            line = {"color": INK, "width": 1.2, "dash": "dash"}
            first = (row, column) == (1, 1)
            figure.add_trace(
                go.Scatter(
                    x=np.arange(len(values)), y=values, name="setpoint", mode="lines", line=line, showlegend=first
                ),
                row,
                column,
            )
    figure.update_layout(
        **SIZE,
        template="none",
        font={"family": FONT, "color": INK, "size": 13},
        legend={"orientation": "h", "x": 0.5, "xanchor": "center", "y": -0.09},
        margin={"l": 50, "r": 20, "t": 40, "b": 70},
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, linecolor=QUIET)
    figure.update_yaxes(gridcolor=GRID, zeroline=False)
    figure.update_xaxes(title_text="tick", row=2)
    path.write_text(_svg(figure.to_html(include_plotlyjs=True)), encoding="utf-8")


def _svg(page: str) -> str:
    """Let a browser lay the figure out."""
    from urllib.parse import unquote  # noqa: PLC0415

    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_page()
        opened.set_content(page)
        opened.wait_for_selector(".plotly-graph-div .scatterlayer")
        size = f"{{format: 'svg', width: {SIZE['width']}, height: {SIZE['height']}}}"
        uri = opened.evaluate(f"Plotly.toImage(document.querySelector('.plotly-graph-div'), {size})")
        browser.close()
    return unquote(str(uri).split(",", 1)[1]) + "\n"
