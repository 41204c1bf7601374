"""What is sent does not grow with the number of ranks, and is what the formula in the docs says."""

from __future__ import annotations

import pytest
from torch import distributed as dist

from benchmarks.scale import EVERY, TICKS, expected_us, measure


@pytest.fixture(scope="module")
def rows():
    return [measure("replicated", ranks) for ranks in (16, 4096)]


def test_a_decision_is_one_sum_whatever_the_number_of_ranks(rows):
    few, many = rows
    assert few["by_size"] == many["by_size"]
    assert few["models_own"] == TICKS
    decisions = TICKS // EVERY
    # One a decision is the maximum that guards read; one more, of one number, is the snapshot's.
    assert few["collectives"] == 2 * decisions + 1
    sizes = [size for size, count in few["by_size"].items() for _ in range(count)]
    # Value, count and non-finite ones of each reading, and two columns to compare, in float64; or maxima alone.
    assert all((size - 48) % 24 == 0 or size % 8 == 0 for size in sorted(sizes)[1:])
    assert not dist.is_initialized()


def test_a_sum_takes_a_hop_more_up_and_down_for_twice_the_ranks():
    assert expected_us(32, 0) - expected_us(16, 0) == pytest.approx(20)
    assert expected_us(16, 10_000) - expected_us(16, 0) == pytest.approx(2)
