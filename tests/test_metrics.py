"""Slots for observed numbers."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from homeostat.errors import HomeostatError
from homeostat.metrics import Metrics


def metrics() -> Metrics:
    return Metrics(torch.float64)


values = st.floats(-1e6, 1e6)


@given(st.lists(st.lists(values, max_size=4), min_size=1, max_size=6), st.data())
def test_a_reader_takes_the_mean_over_ticks_of_the_mean_over_calls(ticks, data):
    m = metrics()
    readers = [m.reader("loss"), m.reader("loss")]
    kept: list[list[float]] = [[], []]
    for calls in ticks:
        for value in calls:
            m.observe("loss", value)
        m.commit()
        for reader, means in zip(readers, kept, strict=True):
            if calls:
                means.append(sum(calls) / len(calls))
            if data.draw(st.booleans()):
                taken = reader.take()
                assert (taken is None) == (not means)
                if taken is not None:
                    assert taken == pytest.approx(sum(means) / len(means), rel=1e-12, abs=1e-9)
                means.clear()


@pytest.mark.parametrize(
    "value", [2.0, 2, True, np.float32(2), torch.tensor(2), torch.tensor([[2.0]]), torch.tensor(2.0).bfloat16()]
)
def test_any_number_is_welcome(value):
    m = metrics()
    reader = m.reader("x")
    for _ in range(2):
        m.observe("x", value)
    m.commit()
    assert reader.take() == float(value)


def test_a_value_is_copied_and_its_graph_is_not_kept():
    m = metrics()
    reader = m.reader("loss")
    loss = torch.tensor(4.0, requires_grad=True) * 1
    m.observe("loss", loss)
    with torch.no_grad():
        loss /= 4
    m.commit()
    taken = reader.take()
    assert taken == 4.0
    assert isinstance(taken, float)


def test_what_is_seen_first_in_an_evaluation_can_be_seen_again_in_training():
    m = metrics()
    with torch.inference_mode():
        m.observe("validation_loss", torch.tensor(1.0))
    m.observe("validation_loss", torch.tensor(3.0))
    reader = m.reader("validation_loss")
    m.commit()
    assert reader.take() == 2.0


def test_discarded_calls_count_nowhere():
    m = metrics()
    reader = m.reader("loss")
    m.observe("loss", 5.0)
    m.discard()
    m.commit()
    assert reader.take() is None
    m.observe("loss", 1.0)
    m.commit()
    assert reader.take() == 1.0


def test_a_skipped_step_takes_all_metrics_since_the_last_tick_and_nothing_older():
    m = metrics()
    readers = [m.reader(name) for name in ("loss", "validation_loss")]
    m.observe("loss", 2.0)
    m.commit()
    m.observe("loss", 9.0)
    m.observe("validation_loss", 3.0)
    m.discard()
    m.commit()
    older, rare = (reader.take() for reader in readers)
    assert older == 2.0
    assert rare is None


def test_more_than_one_number_is_refused():
    with pytest.raises(HomeostatError, match=r"'loss' must be one number; got shape \(3,\)"):
        metrics().observe("loss", torch.zeros(3))


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (None, "NoneType"),
        ("3", "str"),
        (np.array("3"), "<U1"),
        ([1.0], "list"),
        (1 + 2j, "complex"),
        (10**400, "int"),
        (np.array([1.0, 2.0]), r"shape \(2,\)"),
        (torch.tensor(1 + 2j), "torch.complex64"),
        (torch.zeros(0), r"shape \(0,\)"),
    ],
    ids=repr,
)
def test_what_is_no_number_is_refused_by_the_metric_s_name(value, got):
    with pytest.raises(HomeostatError, match=f"^Metric 'loss' must be one number; got {got}[.] "):
        metrics().observe("loss", value)


@pytest.mark.parametrize("value", [2, np.float32(2), np.int64(2), np.array(2.0), np.array([2.0]), Fraction(4, 2)])
def test_a_number_may_be_python_s_or_numpy_s(value):
    m = metrics()
    m.observe("loss", value)
    assert m.current("loss") == 2.0
    assert type(m.current("loss")) is float


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=5), st.booleans())
def test_state_continues_the_interval(seen, pending):
    first, second = metrics(), metrics()
    readers = [m.reader("loss") for m in (first, second)]
    for value in seen:
        first.observe("loss", value)
        first.commit()
    if pending:
        first.observe("loss", 1.0)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for m in (first, second):
        m.observe("loss", 7.0)
        m.commit()
    taken = [reader.take() for reader in readers]
    assert taken[0] == taken[1] or all(map(math.isnan, taken))
