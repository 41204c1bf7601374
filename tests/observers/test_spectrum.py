import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from homeostat.nn import Dial
from homeostat.observers import EffectiveRank
from homeostat.plant import Plant


def run(matrix, dial=None):
    model = nn.Module()
    model.weight = nn.Parameter(matrix)
    if dial is not None:
        model.width = Dial(dial)
    return Plant(model, (torch.optim.SGD([model.weight], lr=0.1),))


def rank(plant, **fields):
    observer = EffectiveRank(parameters="weight", **fields)
    return observer.observe(plant, observer.init(plant)).item()


def random(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(1, 8), st.integers(0, 50))
def test_k_equal_directions_have_rank_k(k, seed):
    left, right = torch.linalg.qr(random(20, k, seed)).Q, torch.linalg.qr(random(10, k, seed)).Q
    assert rank(run(left @ right.mT)) == pytest.approx(k, rel=1e-4)


def test_agrees_with_the_definition():
    s = torch.tensor([4.0, 2.0, 1.0, 1.0], dtype=torch.float64)
    p = s / 8
    expected = torch.exp(-(p * p.log()).sum()).item()
    assert rank(run(torch.linalg.qr(random(9, 4)).Q * s)) == pytest.approx(expected)
    assert rank(run(7 * torch.linalg.qr(random(9, 4)).Q * s)) == pytest.approx(expected)


def test_a_sample_of_1024_rows_reads_a_few_percent_low():
    plant = run(random(20000, 128).float())
    whole, sampled = rank(plant, rows=20000), rank(plant)
    assert 0.96 < sampled / whole < 1.0


def test_the_sample_is_random_and_repeatable():
    matrix = random(4000, 16)
    matrix[:64] = 0
    plant = run(matrix)
    assert rank(plant, rows=64) > 10
    assert rank(plant, rows=64) == rank(plant, rows=64) != rank(plant, rows=64, seed=1)


def test_over_a_width_only_active_columns_count_and_closing_it_does_not_lower_the_reading():
    orthonormal = torch.linalg.qr(random(20, 8)).Q
    plant = run(orthonormal, dial=8.0)
    assert rank(plant, width="width") == pytest.approx(1.0)
    plant.model.width.set(3.5)
    assert rank(plant, width="width") == pytest.approx(1.0)
    plant.model.weight.data[:, 4:] = 0
    plant.model.width.set(8.0)
    assert rank(plant, width="width") == pytest.approx(0.5)
