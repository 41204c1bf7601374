"""One HTML file that needs nothing besides itself."""

from __future__ import annotations

import json
import os
from html import escape
from pathlib import Path

from plotly.offline import get_plotlyjs

from homeostat.errors import TraceError
from homeostat.report import style
from homeostat.report.figures import loop_figure, overview_figure, vitals_colours, vitals_figure
from homeostat.report.rows import Rows
from homeostat.report.summary import LoopSummary, grouped, headline, number, percent, sentence, summarize
from homeostat.report.table import Cell, table
from homeostat.report.view import LoopView, loop_views
from homeostat.report.vitals import vitals_summary
from homeostat.sinks.run import Run

CONFIG = {"responsive": True, "displayModeBar": False, "doubleClick": "autosize", "scrollZoom": False}
# Nothing may be fetched, whatever a name in the trace contains.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
# A page is to be read; the trace has them all.
MOST_INTERVENTIONS = 50

KEY = (
    (style.READING, "\u2014", "reading"),
    (style.INK, "- -", "setpoint"),
    (style.KNOB, "\u2014", "knob"),
    (style.QUIET, "\u00b7\u00b7\u00b7", "limits, events"),
    (style.LIMITED, "\u25ac", "at a limit"),
    (style.HELD, "\u00d7", "held, not finite"),
    (style.INK, "\u25c7", "moved by something else"),
    (style.ALARM, "\u25b2", "alarm"),
    (style.ALARM, "\u2715", "guard"),
)


def write_page(run: Run, output: Path) -> None:
    """Write the report of `run` to `output`, whole or not at all.

    Raises:
        TraceError: the run recorded neither a decision nor a metric.
    """
    if not run.loops and not run.metrics:
        named = ", ".join(str(loop["name"]) for loop in run.description.get("loops", ())) or "none"
        msg = (
            f"A report needs at least one decision or metric; got none from the loops ({named}). "
            "Let the run go on, or check that homeostat is attached to the optimizer that steps."
        )
        raise TraceError(msg)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    partial.write_text(page(run), encoding="utf-8")
    partial.replace(output)


def page(run: Run) -> str:
    """Return the report as HTML: a summary, the vitals, the metrics, then one section a loop."""
    views = loop_views(run)
    summaries = [summarize(view) for view in views]
    title = escape(str(run.description.get("name") or "Training run"))
    sections = [_section(view, run, i) for i, view in enumerate(views)]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title} \u2013 homeostat report</title>
<style>{style.CSS}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
<main>
<header>
<h1>{title}</h1>
<p>{escape(headline(run, summaries))}</p>
<p class="quiet">homeostat {escape(str(run.description.get("homeostat", "")))}. Hover or tap to read values;
drag to zoom all figures, double-click to see everything again.</p>
<ul class="key quiet">{"".join(f'<li><i style="color:{c}">{s}</i>{text}</li>' for c, s, text in KEY)}</ul>
</header>
{_table(summaries)}
{_guards(run)}
{_vitals(run, views)}
<section id="overview">
<h2>Metrics and interventions</h2>
{_plot(overview_figure(run, views), "overview-plot")}
</section>
{"".join(sections)}
</main>
<script>{style.SCRIPT}</script>
</body>
</html>
"""


def _section(view: LoopView, run: Run, index: int) -> str:
    plot = _plot(loop_figure(view, run.ticks), f"loop-plot-{index}") if len(view.ticks) else ""
    parts = escape(json.dumps(view.parts, indent=2))
    return f"""<section id="loop-{index}">
<h2>{escape(view.name)}</h2>
<p>{escape(sentence(view, run))}</p>
{plot}
<details><summary>Parts of this loop</summary><pre>{parts}</pre></details>
</section>
"""


def _plot(rows: Rows, name: str) -> str:
    note = ""
    if rows.thinned:
        note = '<p class="quiet">Long curves are thinned: each bin shows its least and greatest value.</p>'
    html = rows.figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=CONFIG)
    return f'<div class="plot">{html}</div>{note}'


def _table(summaries: list[LoopSummary]) -> str:
    names = ("Loop", "Knob", "From", "To", "Least", "Greatest", "At a limit", "Held", "Decisions")
    body = table(names, [row for index, summary in enumerate(summaries) for row in _rows(summary, index)])
    return f"<section><h2>Knobs</h2>{body}</section>" if body else ""


def _rows(summary: LoopSummary, index: int) -> list[list[Cell]]:
    link = Cell(f'<a href="#loop-{index}">{escape(summary.name)}</a>')
    decisions = Cell(grouped(summary.decisions))
    if not summary.travels:
        return [[link, *[Cell("\u2013")] * 7, decisions]]
    return [
        [
            link,
            Cell(escape(travel.knob)),
            *(Cell(number(value)) for value in (travel.start, travel.end, travel.least, travel.greatest)),
            Cell(percent(travel.saturated), warn=travel.saturated > 0.5),
            Cell(percent(summary.held)),
            decisions,
        ]
        for travel in summary.travels
    ]


def _guards(run: Run) -> str:
    rows = [
        [
            Cell(escape(i.guard)),
            Cell(escape(i.answer + (", advised" if i.advised else "")), warn=i.answer in {"rollback", "abort"}),
            Cell(grouped(i.tick)),
            Cell("\u2013" if i.back_to is None else grouped(i.back_to)),
            Cell(escape(i.text)),
        ]
        for i in run.interventions[-MOST_INTERVENTIONS:]
    ]
    body = table(("Guard", "Answer", "Tick", "Back to", "Because"), rows)
    return f'<section id="guards"><h2>Guards</h2>{body}</section>' if body else ""


def _vitals(run: Run, views: list[LoopView]) -> str:
    told = vitals_summary(run, {view.name: f"loop-{index}" for index, view in enumerate(views)})
    if not told:
        return ""
    drawn = ""
    if run.vitals:
        names = {"homeostasis": style.INK, **vitals_colours(run)}
        key = "".join(f'<li><i style="color:{colour}">\u2014</i>{escape(name)}</li>' for name, colour in names.items())
        drawn = f'{_plot(vitals_figure(run), "vitals-plot")}<ul class="key quiet">{key}</ul>'
    return f"""<section id="vitals">
<h2>Vitals</h2>
{told}
{drawn}
</section>"""
