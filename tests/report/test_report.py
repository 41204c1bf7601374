"""What the report says, and what it refuses to be made of."""

import math
import re
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from homeostat import Homeostat, Loop
from homeostat.__main__ import main
from homeostat.actuators import LearningRate
from homeostat.analysis import run_vitals
from homeostat.errors import MissingExtraError
from homeostat.laws import PID
from homeostat.observers import UpdateRatio
from homeostat.report import write_report
from homeostat.report.curves import last_finite, smooth, thin, value_axis
from homeostat.report.figures import knob_range, overview_figure, vitals_figure
from homeostat.report.page import page
from homeostat.report.summary import percent, sentence, summarize
from homeostat.report.view import Knob, loop_views
from homeostat.report.vitals import verdict
from homeostat.sinks import JsonLines, read_run
from homeostat.trace import Event, LoopVitals, Metric, Record

curves = arrays(float, st.integers(1, 400), elements=st.floats(-1e6, 1e6) | st.just(np.nan))


@given(st.floats(-300, 290), st.floats(0, 15))
def test_an_axis_over_decades_has_two_to_six_whole_ones(lowest: float, decades: float) -> None:
    axis = value_axis(10.0 ** np.array([lowest, lowest + decades, np.nan]))
    if decades < math.log10(49):
        assert axis == {}
    elif decades > math.log10(51):
        assert axis["type"] == "log"
        assert axis["dtick"] == int(axis["dtick"])
        assert 1 <= math.floor(decades / axis["dtick"]) <= 5
    assert value_axis(np.array([0.0, 10.0**lowest])) == value_axis(np.array([np.nan])) == {}


@given(curves, st.integers(2, 40))
def test_thinning_keeps_the_extremes_the_order_and_the_limit(y: np.ndarray, most: int) -> None:
    x = np.arange(len(y), dtype=float)
    curve = thin(x, y, most=most)
    assert len(curve.x) <= max(most, 0)
    assert (np.diff(curve.x) > 0).all()
    assert curve.thinned == (len(y) > most)
    if np.isfinite(y).any():
        assert np.nanmax(curve.y) == np.nanmax(y)
        assert np.nanmin(curve.y) == np.nanmin(y)


@given(curves, st.integers(1, 20))
def test_the_running_mean_is_the_mean_of_the_finite_values_around(y: np.ndarray, window: int) -> None:
    half = window // 2
    for i, value in enumerate(smooth(y, window)):
        around = y[max(0, i - half) : i + half + 1]
        around = around[np.isfinite(around)]
        expected = around.mean() if len(around) else np.nan
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-6)


def test_a_gap_shows_the_last_finite_value() -> None:
    assert last_finite(np.array([np.nan, 1, np.inf, 2, np.nan])).tolist() == [1, 1, 1, 2, 2]
    assert last_finite(np.array([np.nan])).tolist() == [0]


def test_a_limit_far_away_does_not_flatten_the_knob() -> None:
    values = np.array([1.0, 1.5, 0.8])
    low, high = knob_range(Knob("rate", values, 1e-4, 1e4, True, np.zeros(3, dtype=bool)))
    assert 0.5 < low < 0.8
    assert 1.5 < high < 2
    low, high = knob_range(Knob("dropout", np.array([0.0, 0.3]), 0.0, 0.5, False, np.zeros(2, dtype=bool)))
    assert low < 0
    assert high > 0.5


def test_the_summary_counts_limits_holds_and_travel(run_folder: Path) -> None:
    run = read_run(run_folder)
    update, generalisation, base, coupled, rare = map(summarize, loop_views(run))
    assert (update.decisions, generalisation.decisions, rare.decisions) == (300, 15, 0)
    assert base.held == 6 / 300
    flags = run.loops["rotary base"]
    assert base.travels[0].saturated == flags["low"].mean() > 0.1
    assert base.travels[0].least == 500
    penalty, window = coupled.travels
    assert penalty.saturated == run.loops["rotation & window"]["high"].mean() > 0.1
    assert window.saturated == 0
    assert (window.least, window.greatest) == (32, 160)


def test_what_guards_did_is_told_and_marked(run_folder: Path) -> None:
    run = read_run(run_folder)
    section = re.search(r'<section id="guards">.*?</section>', page(run), re.DOTALL)
    assert section
    assert re.findall(r"<span>(skip|rollback|905|910|900)</span>", section[0]) == [
        "skip",
        "905",
        "rollback",
        "910",
        "900",
    ]
    assert "&lt;robust&gt;" in section[0]
    assert "Guards intervened 2 times (skip 1, rollback 1)" in page(run)
    lanes = [trace.name for trace in overview_figure(run, loop_views(run)).figure.data]
    assert "Guards" in lanes


def test_the_vitals_are_told_of_every_loop_and_drawn_where_they_were_recorded(run_folder: Path) -> None:
    run = read_run(run_folder)
    section = re.search(r'<section id="vitals">.*?</section>', page(run), re.DOTALL)
    assert section is not None
    assert f"<b>{run_vitals(run).homeostasis:.2f}</b>" in section[0]
    assert section[0].count('data-label="Regulation"') == 4
    assert 'href="#loop-3">rotation &amp; window</a>' in section[0]
    overall = vitals_figure(run).figure.data[-1]
    assert (overall.name, list(overall.y)) == ("homeostasis", [v.homeostasis for v in run.vitals])
    assert "vitals-plot" not in page(run._replace(vitals=[]))
    assert 'id="vitals"' not in page(run._replace(loops={}))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "steady"),
        ({"regulation": math.nan}, "too few decisions"),
        ({"held": 0.6}, "mostly held"),
        ({"in_band": math.nan}, "no setpoint"),
        ({"in_band": math.nan, "regulation": 0.7, "saturation": 0.3}, "no setpoint"),
        ({"regulation": 0.5, "saturation": 0.6, "oscillation": 0.9}, "at its limit"),
        ({"regulation": 0.5, "oscillation": 0.9}, "oscillates"),
        ({"regulation": 0.5}, "at times off its setpoint"),
        ({"regulation": 0.49}, "off its setpoint"),
    ],
)
def test_a_verdict_names_what_is_most_serious(changed: dict[str, float], words: str) -> None:
    well = LoopVitals(100, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0)
    assert verdict(well._replace(**changed)) == words


def test_a_loop_that_never_decided_says_why(run_folder: Path) -> None:
    run = read_run(run_folder)
    assert "never decided" in sentence(loop_views(run)[-1], run)
    assert "none arrived" in page(run)


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (1e-5, "under 0.1 %"), (0.02, "2.0 %"), (0.5, "50 %"), (1, "100 %")]
)
def test_shares_are_written_for_people(share: float, text: str) -> None:
    assert percent(share) == text


def test_names_cannot_become_markup(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    sink = JsonLines(tmp_path / "trace.jsonl")
    sink.open({"version": 1, "tick": 0, "name": evil, "loops": [{"name": evil, "law": {"kind": evil}}]})
    sink.write(Record(1, evil, (1.0,), (1.0,), (1.0,), (1.0,), (1.0,), (), {}))
    sink.write(Metric(1, evil, 1.0))
    sink.write(Event(1, evil))
    sink.close()
    html = write_report(tmp_path).read_text()
    assert "<script>alert(1)" not in html
    assert "<img" not in re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)


def test_long_curves_are_thinned_and_the_page_says_so(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "trace.jsonl", block=1000)
    sink.open({"version": 1, "tick": 0, "loops": []})
    for tick in range(12000):
        sink.write(Metric(tick, "loss", 1e9 if tick == 7777 else 1.0 + tick % 7))
    sink.close()
    run = read_run(tmp_path)
    assert "Long curves are thinned" in page(run)
    curves = overview_figure(run, []).figure.data
    assert all(len(curve.x) <= 5000 for curve in curves)
    assert max(np.nanmax(curve.y) for curve in curves) == 1e9


def test_the_command_writes_the_report_and_prints_its_path(run_folder: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "new" / "page.html"
    assert main(["report", str(run_folder / "trace.jsonl"), "--output", str(output)]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    assert output.read_text().startswith("<!DOCTYPE html>")
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("", "an empty file"),
        ("nonsense\n", "not one of its entries"),
        ('{"run":{"version":7,"homeostat":"3.0"}}\n', "version 1; got version 7"),
        ('{"run":{"version":1,"loops":[{"name":"rate"}]}}\n', "got none from the loops (rate)"),
    ],
)
def test_what_cannot_be_shown_is_one_line_and_exit_code_2(tmp_path, capsys, content, message) -> None:
    if content is not None:
        (tmp_path / "trace.jsonl").write_text(content)
    assert main(["report", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


def test_a_missing_package_names_its_extra(run_folder: Path, monkeypatch) -> None:
    for name in [name for name in sys.modules if name.startswith("homeostat.report.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingExtraError, match=r"torch-homeostat\[report\]"):
        write_report(run_folder)


def test_the_command_knows_its_version(capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert re.fullmatch(r"homeostat \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_the_report_of_a_killed_run_is_made(run_folder: Path, tmp_path: Path) -> None:
    lines = (run_folder / "trace.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "trace.jsonl").write_bytes(b"".join(islice(lines, 500)) + lines[500][:20])
    assert write_report(tmp_path).stat().st_size > 1e6


def test_a_real_controlled_run_is_shown(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    loop = Loop(UpdateRatio(), PID(gain=0.3, integral_time=10.0), LearningRate(low=0.5, high=2.0), setpoint=1e-2)
    sinks = [JsonLines(tmp_path / "trace.jsonl")]
    homeostat = Homeostat([loop], name="tiny", sinks=sinks).attach(model, optimizer)
    for _ in range(60):
        batch = torch.randn(16, 4)
        loss = (model(batch) - batch.sum(1, keepdim=True)).square().mean()
        homeostat.observe(loss=loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    homeostat.detach()
    run = read_run(tmp_path)
    (view,) = loop_views(run)
    assert (view.law, view.readings[0].name, view.knobs[0].name) == ("PID", "UpdateRatio", "LearningRate")
    assert (view.knobs[0].low, view.knobs[0].high, view.knobs[0].log) == (0.5, 2.0, True)
    assert view.readings[0].setpoint is not None
    assert len(view.ticks) >= 5
    assert "tiny" in write_report(tmp_path).read_text()
