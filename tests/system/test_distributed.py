"""Two real processes that train together decide alike, and neither decides alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from homeostat.sinks import read_run
from tests.system.processes import run_ranks

WORKER = Path(__file__).with_name("ranks.py")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two ranks saw; one start of the processes serves every test."""
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(WORKER, folder, 2)
    return [
        {**json.loads((folder / f"{rank}.json").read_text()), "trace": str(folder / "trace.jsonl")} for rank in range(2)
    ]


def test_both_ranks_gave_the_same_commands(ranks):
    first, second = (rank["loops"] for rank in ranks)
    assert first == second
    assert len(first["learning_rate"]["delivered.0"]) == 12
    assert len(set(first["learning_rate"]["delivered.0"])) > 3


def test_weights_stay_equal(ranks):
    assert ranks[0]["weights"] == ranks[1]["weights"]


def test_a_mean_reading_is_the_mean_over_the_ranks(ranks):
    mean = [(a + b) / 2 for a, b in zip(ranks[0]["losses"], ranks[1]["losses"], strict=True)]
    assert mean[:6] == pytest.approx(ranks[0]["loops"]["learning_rate"]["reading.0"][:6], rel=1e-6)
    assert ranks[0]["losses"] != ranks[1]["losses"]


def test_one_rank_without_a_number_holds_both(ranks):
    for rank in ranks:
        assert [i for i, held in enumerate(rank["loops"]["learning_rate"]["held"]) if held] == [6]


def test_a_loss_that_one_rank_alone_observes_reaches_both(ranks):
    assert ranks[0]["loops"]["dropout"]["reading.0"] == ranks[1]["loops"]["dropout"]["reading.0"]
    assert len(ranks[0]["loops"]["dropout"]["reading.0"]) == 3


def test_metrics_are_recorded_on_the_rank_that_observed_them(ranks):
    assert "only_here" in ranks[0]["metrics"]
    assert "only_here" not in ranks[1]["metrics"]


def test_a_resumed_run_goes_on_alike(ranks):
    assert ranks[0]["resumed"] == ranks[1]["resumed"]
    assert len(set(ranks[0]["resumed"])) > 1


def test_one_rank_writes_the_trace_and_goes_on_with_it_after_a_resume(ranks):
    ticks = read_run(ranks[0]["trace"]).loops["learning_rate"]["tick"].tolist()
    assert ticks == list(range(12 + 5))
