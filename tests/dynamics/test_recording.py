"""A recording from arrays, from a loop's columns and from a run on disk."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from homeostat import Homeostat, Loop
from homeostat.actuators import LearningRate
from homeostat.dynamics.recording import Recording
from homeostat.errors import AnalysisError
from homeostat.laws import EMA, PID, Chain
from homeostat.observers import Loss
from homeostat.sinks import JsonLines, read_run

COLUMNS = {
    "tick": np.array([0.0, 4, 4, 10]),
    "reading.0": np.array([1.0, 2, 3, np.nan]),
    "delivered.0": np.array([1.0] * 4),
}


def test_of_two_decisions_at_one_tick_the_last_counts():
    found = Recording.from_columns(COLUMNS, scale="log", log_reading=True)
    np.testing.assert_array_equal(found.tick, [0, 4, 10])
    np.testing.assert_allclose(found.reading, [0, np.log(3), np.nan])
    np.testing.assert_array_equal(found.knob, [0, 0, 0])


def test_on_the_grid_the_knob_is_held_and_a_missing_reading_is_missing():
    recording = Recording.of([10, 12, 18, 20], [1, np.nan, 3, 4], [0.1, 0.2, 0.3, 0.4])
    held, places = recording.on_grid()
    assert (recording.step, recording.every, recording.span) == (2, 2, 10)
    np.testing.assert_array_equal(held, [0.1, 0.2, 0.2, 0.2, 0.3, 0.4])
    np.testing.assert_array_equal(places, [0, 4, 5])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([0, 1], [1.0], [1.0, 2.0]), "vectors of one length"),
        (([0, 0], [1.0, 2.0], [1.0, 2.0]), "increase strictly"),
        (([0, 0.5], [1.0, 2.0], [1.0, 2.0]), "must be whole"),
        (([0, 1], [1.0, 2.0], [1.0, np.inf]), "Knob positions must be finite"),
    ],
)
def test_nonsense_is_refused(columns, message):
    with pytest.raises(AnalysisError, match=message):
        Recording.of(*columns)


def test_a_scale_that_does_not_exist_is_refused():
    with pytest.raises(AnalysisError, match="scale must be 'linear' or 'log'; got 'ln'"):
        Recording.from_columns(COLUMNS, scale="ln")


def test_columns_must_be_there():
    with pytest.raises(AnalysisError, match=r"none called reading\.1"):
        Recording.from_columns(COLUMNS, scale="linear", reading=1)


def test_a_run_on_disk_says_scale_and_logarithm_itself(tmp_path):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    law = Chain(laws=(EMA(time_constant=5), PID(gain=-0.3, integral_time=20, log_error=True)))
    loop = Loop(Loss(), law, LearningRate(low=0.01, high=100), setpoint=0.5, every=2, name="rate")
    homeostat = Homeostat([loop], sinks=[JsonLines(tmp_path / "trace.jsonl")]).attach(model, optimizer)
    for _ in range(20):
        loss = model(torch.randn(4, 3)).square().mean()
        homeostat.observe(loss=loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    columns = homeostat.trace.loop("rate")
    homeostat.detach()
    run = read_run(tmp_path)
    found = Recording.from_run(run, "rate")
    expected = Recording.from_columns(columns, scale="log", log_reading=True)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_allclose(found.reading, np.log(columns["reading.0"]))
    assert np.ptp(found.knob) > 0
    with pytest.raises(AnalysisError, match="loop 'other'; got rate"):
        Recording.from_run(run, "other")
