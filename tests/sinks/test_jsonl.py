"""What goes in comes out, as strict JSON, in blocks, and never mixed with a file that is no trace."""

import gc
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.errors import HomeostatError, HomeostatWarning, TraceError
from homeostat.sinks import JsonLines, read_run
from homeostat.trace import Event, Intervention, Metric, Record, Trace

numbers = st.floats(allow_nan=True, allow_infinity=True)
vectors = st.lists(numbers, min_size=1, max_size=3).map(tuple)
records = st.builds(
    Record,
    tick=st.integers(0, 10**6),
    loop=st.sampled_from(["rate", 'größe "x"\n']),
    readings=vectors,
    setpoints=vectors,
    commands=vectors,
    admitted=vectors,
    delivered=vectors,
    limits=st.sets(st.sampled_from(["held", "low", "slew"])).map(tuple),
    terms=st.dictionaries(st.sampled_from(["p", "i"]), numbers),
)
metrics = st.builds(Metric, tick=st.integers(0, 10**6), name=st.sampled_from(["loss", "näme"]), value=numbers)


def same_columns(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        column.tobytes() == other[name].tobytes() or np.array_equal(column, other[name], equal_nan=True)
        for name, column in one.items()
    )


@given(st.lists(records | metrics, max_size=20))
def test_reading_gives_the_same_columns_as_the_trace_in_memory(tmp_path_factory, description, entries) -> None:
    entries = sorted(entries, key=lambda entry: entry.tick)
    path = tmp_path_factory.mktemp("run") / "trace.jsonl"
    sink = JsonLines(path, block=7)
    sink.open(description)
    trace = Trace(sinks=[sink])
    for entry in entries:
        trace.append(entry)
    sink.close()
    run = read_run(path)
    assert sorted(run.loops) == sorted(trace.loops)
    assert sorted(run.metrics) == sorted(trace.metrics)
    assert all(same_columns(run.loops[name], trace.loop(name)) for name in trace.loops)
    assert all(same_columns(run.metrics[name], trace.metric(name)) for name in trace.metrics)


def test_every_line_is_strict_json(tmp_path, description, record) -> None:
    sink = JsonLines(tmp_path / "trace.jsonl")
    sink.open(description)
    for value in (math.nan, math.inf, -math.inf):
        sink.write(record(1, reading=value))
        sink.write(Metric(1, "loss", value))
    sink.close()

    def refuse(name: str) -> None:
        raise AssertionError(name)

    lines = (tmp_path / "trace.jsonl").read_text().splitlines()
    assert all(json.loads(line, parse_constant=refuse) for line in lines)
    assert len(lines) == 7


def test_nothing_reaches_the_file_before_a_block_is_full_and_one_write_takes_it(
    tmp_path, description, monkeypatch, record
) -> None:
    sink = JsonLines(tmp_path / "trace.jsonl", block=10, seconds=1e6)
    sink.open(description)
    writes = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: writes.append(len(data)) or real(fd, data))
    for tick in range(25):
        sink.write(record(tick))
    assert len(writes) == 2
    assert len(read_run(tmp_path).loops["rate"]["tick"]) == 20
    sink.flush()
    assert len(read_run(tmp_path).loops["rate"]["tick"]) == 25
    sink.close()


def test_an_old_entry_is_written_with_the_next_one(tmp_path, description, monkeypatch, record) -> None:
    clock = iter([0.0, 1.0, 5.0, 5.0])
    monkeypatch.setattr("homeostat.sinks.jsonl.time.monotonic", lambda: next(clock))
    sink = JsonLines(tmp_path / "trace.jsonl", block=1000, seconds=5.0)
    sink.open(description)
    sink.write(record(0))
    sink.write(record(1))
    assert read_run(tmp_path).loops == {}
    sink.write(record(2))
    assert read_run(tmp_path).loops["rate"]["tick"].tolist() == [0, 1, 2]
    monkeypatch.undo()
    sink.close()


def test_resuming_drops_what_the_earlier_process_did_from_that_tick_on(tmp_path, description, record) -> None:
    for start, stop in ((0, 10), (6, 8)):
        sink = JsonLines(tmp_path / "trace.jsonl")
        sink.open({**description, "tick": start})
        sink.write(Event(start, f"started at {start}"))
        for tick in range(start, stop):
            sink.write(record(tick, reading=float(start)))
            sink.write(Metric(tick, "loss", float(start)))
        sink.close()
    run = read_run(tmp_path)
    assert run.description["tick"] == 6
    assert run.loops["rate"]["tick"].tolist() == list(range(8))
    assert run.loops["rate"]["reading.0"].tolist() == [0.0] * 6 + [6.0] * 2
    assert run.metrics["loss"]["value"].tolist() == [0.0] * 6 + [6.0] * 2
    assert [event.text for event in run.events] == ["started at 0", "started at 6"]
    assert run.ticks == 7


def test_a_run_begun_anew_in_the_same_file_hides_the_old_one(tmp_path, description, record) -> None:
    for reading in (1.0, 2.0):
        sink = JsonLines(tmp_path / "trace.jsonl")
        sink.open(description)
        sink.write(record(3, reading=reading))
        sink.close()
    assert read_run(tmp_path).loops["rate"]["reading.0"].tolist() == [2.0]


def test_a_sink_that_is_let_go_writes_its_last_block(tmp_path, description, record) -> None:
    sink = JsonLines(tmp_path / "trace.jsonl")
    sink.open(description)
    sink.write(record(5))
    del sink
    gc.collect()
    assert read_run(tmp_path).loops["rate"]["tick"].tolist() == [5]


def test_a_file_that_is_no_trace_is_left_alone(tmp_path, description) -> None:
    path = tmp_path / "thesis.tex"
    path.write_text(r"\documentclass{book}")
    with pytest.raises(TraceError, match="must be a trace or not exist"):
        JsonLines(path).open(description)
    assert path.read_text() == r"\documentclass{book}"


@pytest.mark.parametrize("below", ["", "file/trace.jsonl"])
def test_what_cannot_be_written_is_refused_in_a_sentence(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(TraceError, match=r"must be a file that can be written; got .*\(.+\)\. Name another"):
        JsonLines(tmp_path / below).open({})


def test_a_full_disk_costs_a_warning_and_no_entry(tmp_path, description, monkeypatch, record) -> None:
    sink = JsonLines(tmp_path / "trace.jsonl", block=2, seconds=1e6)
    sink.open(description)
    real = os.write
    calls = []

    def full(fd: int, data: memoryview) -> int:
        calls.append(None)
        if len(calls) == 1:
            return real(fd, data[:11])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    sink.write(record(0))
    with pytest.warns(HomeostatWarning, match="No space left on device"):
        sink.write(record(1))
    monkeypatch.setattr(os, "write", real)
    sink.write(record(2))
    sink.close()
    assert read_run(tmp_path).loops["rate"]["tick"].tolist() == [0, 1, 2]


def test_writing_before_opening_and_empty_blocks_are_refused(tmp_path, record) -> None:
    with pytest.raises(HomeostatError, match="must be opened"):
        JsonLines(tmp_path / "trace.jsonl").write(record(0))
    with pytest.raises(ValueError, match="at least 1; got 0"):
        JsonLines(tmp_path / "trace.jsonl", block=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got an empty file"),
        (b'{"run":{"version":1', "got no whole line"),
        (b'{"run":{"version":2,"homeostat":"9.1"}}\n', "version 1; got version 2, written by homeostat 9.1"),
        (b'{"tick":1,"event":"x"}\n', "line 1 before any description"),
        (b'{"run":{"version":1}}\n{"tick":1,"even\n{"tick":1,"event":"x"}\n', "line 2, which is not one of its"),
        (b"\x89PNG\r\n\x1a\n", "line 1, which is not one of its"),
        (b"[1]\n", "line 1 before any description"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "trace.jsonl").write_bytes(content)
    with pytest.raises(TraceError, match=message):
        read_run(tmp_path)


def test_a_missing_trace_is_one_sentence(tmp_path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        read_run(tmp_path)


def test_what_a_replay_records_anew_takes_the_place_of_what_it_took_back(tmp_path):
    sink = JsonLines(tmp_path / "trace.jsonl")
    sink.open({"version": 1, "tick": 0})
    trace = Trace(sinks=[sink])
    for tick in range(10):
        trace.append(Metric(tick, "loss", float(tick)))
    back = Intervention(9, "loss spike", "rollback", "loss 9 is far", back_to=5, replayed=True)
    trace.append(back)
    for tick in range(5, 12):
        trace.append(Metric(tick, "loss", -float(tick)))
    sink.close()
    run = read_run(tmp_path)
    assert run.interventions == trace.interventions == [back]
    expected = [*range(5), *(-t for t in range(5, 12))]
    assert run.metrics["loss"]["value"].tolist() == trace.metric("loss")["value"].tolist() == expected
