"""Records in columns."""

from __future__ import annotations

import gc
import math
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.trace import LIMITS, Event, Metric, Record, Trace, Vitals


def record(tick: int, loop: str = "a", terms: dict[str, float] | None = None, limits: tuple[str, ...] = ()) -> Record:
    return Record(tick, loop, (1.5,), (2.0,), (3.0,), (4.0,), (5.0,), limits, terms or {})


def last_of(records: list[Record]) -> Vitals:
    return Vitals(records[-1].tick, 0.5, {})


class Memory:
    def __init__(self) -> None:
        self.entries: list[object] = []

    def open(self, description: object) -> None: ...

    def write(self, entry: object) -> None:
        self.entries.append(entry)

    def flush(self) -> None: ...

    def close(self) -> None: ...


@given(st.integers(1, 6), st.integers(0, 20))
def test_the_last_rows_are_kept_oldest_first(capacity, count):
    trace = Trace(capacity)
    for tick in range(count):
        trace.append(Metric(tick, "loss", tick * 2.0))
        trace.append(record(tick))
        trace.append(Event(tick, "x"))
        trace.append(Vitals(tick, 0.5, {}))
    kept = [float(t) for t in range(count)][-capacity:]
    assert [e.tick for e in trace.events] == [v.tick for v in trace.vitals] == kept
    assert [r.tick for r in trace.records("a", 3)] == kept[-3:]
    if count:
        assert trace.metric("loss")["tick"].tolist() == kept
        assert trace.metric("loss")["value"].tolist() == [2 * t for t in kept]
        assert trace.loop("a")["tick"].tolist() == kept
    else:
        assert (trace.loops, trace.metrics) == ([], [])


def test_a_record_is_flattened_into_named_columns():
    trace = Trace()
    trace.append(record(3, terms={"P": 0.5}, limits=("low", "slew")))
    columns = trace.loop("a")
    assert {k: v.tolist() for k, v in columns.items() if k not in LIMITS} == {
        "tick": [3.0],
        "reading.0": [1.5],
        "setpoint.0": [2.0],
        "command.0": [3.0],
        "admitted.0": [4.0],
        "delivered.0": [5.0],
        "term.P": [0.5],
    }
    assert [limit for limit in LIMITS if columns[limit][0]] == ["low", "slew"]
    assert record(0).errors == (0.5,)


def test_a_column_that_comes_later_is_nan_before():
    trace = Trace()
    trace.append(record(0))
    trace.append(record(1, terms={"P": 1.0}))
    trace.append(record(2))
    term = trace.loop("a")["term.P"].tolist()
    assert math.isnan(term[0])
    assert term[1] == 1.0
    assert math.isnan(term[2])


def test_columns_are_copies():
    trace = Trace()
    trace.append(record(0))
    trace.loop("a")["tick"][0] = 99
    assert trace.loop("a")["tick"].tolist() == [0.0]


def test_every_entry_reaches_every_sink_whatever_the_capacity():
    sinks = [Memory(), Memory()]
    trace = Trace(1, sinks)
    entries = [record(0), Metric(0, "loss", 1.0), Event(1, "x"), record(1, "b"), Vitals(1, 0.5, {})]
    for entry in entries:
        trace.append(entry)
    assert sinks[0].entries == sinks[1].entries == entries
    assert (trace.loops, trace.metrics) == (["a", "b"], ["loss"])


def test_an_unknown_name_is_a_key_error():
    with pytest.raises(KeyError):
        Trace().loop("nobody")


def test_a_name_that_is_not_there_is_answered_with_those_that_are():
    trace = Trace()
    trace.append(record(1))
    trace.append(Metric(1, "loss", 2.0))
    with pytest.raises(KeyError, match=r"got 'lr'\. There is: a"):
        trace.loop("lr")
    with pytest.raises(KeyError, match=r"got 'losses'\. There is: loss"):
        trace.metric("losses")


def test_vitals_that_nobody_asks_for_keep_no_old_records():
    trace, capacity = Trace(20), 20
    for tick in range(1000):
        trace.append(record(tick, "judged later"))
        if tick % 10 == 0:
            trace.judge(tick, partial(last_of, trace.records("judged later", capacity)))
    gc.collect()
    alive = [r for r in gc.get_objects() if type(r) is Record and r.loop == "judged later"]
    # Those in memory, and as many of before them.
    assert len(alive) <= 2 * capacity
    # They are what they would have been at once.
    assert [v.tick for v in trace.vitals] == list(range(1000))[::10][-capacity:]
