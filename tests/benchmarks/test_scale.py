"""One sum a decision, whatever the number of ranks, and of the size that the formula in the docs says."""

from __future__ import annotations

import pytest
from torch import distributed as dist

from benchmarks.scale import EVERY, TICKS, expected_us, measure


@pytest.fixture(scope="module")
def rows():
    return [measure("replicated", ranks) for ranks in (16, 4096)]


def test_a_decision_is_one_sum_whatever_the_number_of_ranks(rows):
    few, many = rows
    assert few["models_own"] == TICKS
    # Two of one number each are the snapshot's.
    assert few["by_size"].pop(4) == many["by_size"].pop(4) == 2
    assert few["collectives"] == many["collectives"] == TICKS // EVERY + 2
    # Value, count and non-finite ones of each reading, and two columns to compare, in float64; and of each greatest
    # value one number a rank.
    assert list(few["by_size"].values()) == list(many["by_size"].values())
    for small, large in zip(few["by_size"], many["by_size"], strict=True):
        greatest = (large - small) / (8 * (4096 - 16))
        assert greatest in {1, 2}
        assert (small - 48 - 8 * 16 * greatest) % 24 == 0
    assert not dist.is_initialized()


def test_a_sum_takes_a_hop_more_up_and_down_for_twice_the_ranks():
    assert expected_us(32, 0) - expected_us(16, 0) == pytest.approx(20)
    assert expected_us(16, 10_000) - expected_us(16, 0) == pytest.approx(2)
