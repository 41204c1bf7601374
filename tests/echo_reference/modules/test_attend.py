from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from echo_reference.modules.attend import QUANTUM, Heads, attend_blocked, attend_global, attend_scored, block_span
from echo_reference.modules.distance import RelativeBias, causal_score, distances, spread, window_score
from homeostat.nn import Dial


def heads(length: int, seed: int = 0) -> Heads:
    generator = torch.Generator().manual_seed(seed)
    return Heads(*(torch.randn(2, 3, length, 4, dtype=torch.float64, generator=generator) for _ in range(3)))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 5))
def test_spread_puts_each_distance_where_it_belongs(queries: int, keys: int, first: int) -> None:
    row = distances(queries, keys, first, torch.device("cpu"))
    expected = torch.arange(keys) - (first + torch.arange(queries)[:, None])
    assert torch.equal(spread(row[None], keys)[0], expected)


@given(
    length=st.integers(1, 120),
    window=st.floats(0.0, 40.0),
    short=st.integers(1, 120),
    causal=st.booleans(),
)
def test_blocks_compute_the_same_function_as_one_masked_product(
    length: int, window: float, short: int, causal: bool
) -> None:
    torch.manual_seed(0)
    bias = RelativeBias(3, 15, causal).double()
    torch.nn.init.normal_(bias.table)

    def score(distance: Tensor) -> Tensor:
        row = bias(distance) + window_score(distance, torch.tensor(window, dtype=torch.float64))
        return row + causal_score(distance, torch.float64) if causal else row

    mask = torch.arange(length) < torch.tensor([[length], [min(short, length)]])
    span = 16 * max(1, math.ceil(window / 16))
    full = attend_scored(heads(length), score, mask)
    blocked = attend_blocked(heads(length), score, mask, span)
    assert full.isfinite().all()
    torch.testing.assert_close(blocked * mask[:, None, :, None], full * mask[:, None, :, None])


def test_without_scores_it_is_plain_attention() -> None:
    mask = torch.arange(9) < torch.tensor([[9], [4]])
    plain = attend_global(heads(9), mask)
    scored = attend_scored(heads(9), lambda d: torch.zeros(3, len(d), dtype=torch.float64), mask)
    torch.testing.assert_close(scored, plain)


def test_the_window_has_a_soft_edge() -> None:
    distance = torch.arange(-4, 5)
    weight = window_score(distance, torch.tensor(2.25)).exp()
    assert weight.tolist() == pytest.approx([0, 0.25, 1, 1, 1, 1, 1, 0.25, 0])


def test_the_output_is_continuous_in_the_window() -> None:
    def output(window: float) -> Tensor:
        edge = torch.tensor(window, dtype=torch.float64)
        q, k, v = heads(30)
        return attend_scored(Heads(0.1 * q, k, v), lambda d: window_score(d, edge).expand(3, -1), None)

    for window in (2.0, 2.3, 3.0, 16.0):
        step = (output(window + 1e-6) - output(window - 1e-6)).abs().max()
        assert step < 2e-5


def test_the_bias_is_zero_beyond_its_reach_and_has_the_entries_it_needs() -> None:
    for causal, entries in ((True, 4), (False, 7)):
        bias = RelativeBias(2, 3, causal)
        assert bias.table.shape == (2, entries)
        torch.nn.init.ones_(bias.table)
        assert bias(torch.arange(-5, 1))[0].tolist() == [0, 0, 1, 1, 1, 1]


def test_short_or_wide_takes_one_product_and_long_takes_blocks() -> None:
    def span(window: float, length: int) -> int | None:
        return block_span(Dial(window, quantum=QUANTUM).quanta, length)

    assert span(16.0, 100) is None
    assert span(100.0, 300) is None
    assert span(0.0, 300) == 16
    assert span(16.0, 300) == 16
    assert span(16.5, 300) == 32


def test_blocks_have_the_gradients_of_one_masked_product() -> None:
    mask = torch.arange(50) < torch.tensor([[50], [37]])
    table = torch.randn(3, 99, dtype=torch.float64, requires_grad=True)

    def score(distance: Tensor) -> Tensor:
        return table.index_select(1, distance + 49) + window_score(distance, torch.tensor(9.5, dtype=torch.float64))

    def gradients(blocked: bool) -> tuple[Tensor, ...]:
        given = Heads(*(x.requires_grad_() for x in heads(50)))
        read = attend_blocked(given, score, mask, 16) if blocked else attend_scored(given, score, mask)
        return torch.autograd.grad((read * mask[:, None, :, None]).square().sum(), (*given, table))

    for got, expected in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(got, expected)
