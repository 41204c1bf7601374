"""The look of the report: one palette that colour-blind people can tell apart, one style sheet."""

from __future__ import annotations

# Okabe and Ito's palette (2008); every colour is also told apart by dash, symbol or place.
READING = "#0072B2"
KNOB = "#00795B"
LIMITED = "#D55E00"
HELD = "#A3478A"
ALARM = "#B00020"
QUIET = "#6B7280"
INK = "#1F2933"
GRID = "#E8EAED"
SERIES = (READING, LIMITED, KNOB, HELD, "#8A6D00", "#2B6CB0")

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

CSS = f"""
:root {{ color-scheme: light; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: #F6F7F8; color: {INK}; font: 16px/1.5 {FONT}; }}
main {{ max-width: 1120px; margin: 0 auto; padding: 32px 20px 64px; }}
h1 {{ font-size: 26px; line-height: 1.2; margin: 0 0 8px; font-weight: 650; overflow-wrap: anywhere; }}
h2 {{ font-size: 18px; line-height: 1.3; margin: 0 0 4px; font-weight: 650; overflow-wrap: anywhere; }}
p {{ margin: 0 0 8px; max-width: 76ch; }}
.quiet {{ color: {QUIET}; font-size: 14px; }}
section {{ background: #fff; border: 1px solid #E3E6E9; border-radius: 10px; padding: 18px 20px; margin-top: 18px; }}
.plot {{ width: 100%; }}
table {{ border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }}
th {{ text-align: right; font-weight: 600; color: {QUIET}; padding: 6px 10px; border-bottom: 1px solid #D5D9DD; }}
td {{ text-align: right; padding: 6px 10px; border-bottom: 1px solid #EEF0F2; overflow-wrap: anywhere; }}
tr:last-child td {{ border-bottom: 0; }}
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) {{ text-align: left; }}
td a {{ color: {READING}; }}
td.warn {{ color: #A84300; font-weight: 650; }}
.key {{ display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0; padding: 0; list-style: none; }}
.key i {{ font-style: normal; font-weight: 700; margin-right: 6px; }}
details {{ margin-top: 6px; font-size: 14px; }}
summary {{ cursor: pointer; color: {QUIET}; }}
pre {{ overflow-x: auto; background: #F6F7F8; border-radius: 6px; padding: 12px; font-size: 13px; line-height: 1.45; }}
@media (max-width: 640px) {{
  main {{ padding: 20px 10px 40px; }}
  section {{ padding: 14px 12px; }}
  thead {{ display: none; }}
  tr {{ display: grid; grid-template-columns: 1fr 1fr; column-gap: 24px; padding: 8px 0;
    border-bottom: 1px solid #E3E6E9; }}
  tr:last-child {{ border-bottom: 0; }}
  td, td:first-child, td:nth-child(2) {{ display: flex; justify-content: space-between; gap: 16px;
    text-align: right; border: 0; padding: 2px 0; }}
  td:first-child, td:nth-child(2) {{ grid-column: 1 / -1; }}
  td::before {{ content: attr(data-label); color: {QUIET}; text-align: left; flex: none; }}
}}
@media print {{ body {{ background: #fff; }} section {{ break-inside: avoid; }} }}
"""

# Zooming one figure zooms all; on a touch screen a finger scrolls the page instead of zooming.
SCRIPT = """
(function () {
  const plots = Array.from(document.querySelectorAll('.plotly-graph-div'));
  const touch = window.matchMedia('(pointer: coarse)').matches;
  let following = false;
  function follow(change) {
    if (following) return;
    const low = change['xaxis.range[0]'], high = change['xaxis.range[1]'];
    if (low === undefined && !change['xaxis.autorange']) return;
    following = true;
    Promise.all(plots.map((plot) => Plotly.relayout(plot, {
      'xaxis.range': low === undefined ? JSON.parse(plot.dataset.whole) : [low, high],
    }))).finally(() => { following = false; });
  }
  plots.forEach((plot) => {
    plot.dataset.whole = JSON.stringify(plot.layout.xaxis.range);
    plot.on('plotly_relayout', follow);
    if (touch) Plotly.relayout(plot, { dragmode: false });
  });
})();
"""
