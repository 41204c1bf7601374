import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from homeostat.observers import OrthogonalityDrift
from homeostat.plant import Plant


def drift(*tensors, **fields):
    model = nn.ParameterList(nn.Parameter(t) for t in tensors)
    plant = Plant(model, (torch.optim.SGD(model.parameters(), lr=0.1),))
    observer = OrthogonalityDrift(parameters="*", **fields)
    return observer.observe(plant, observer.init(plant))


def rotation(*shape, seed=0):
    return torch.linalg.qr(torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))).Q


@given(st.integers(1, 6), st.integers(0, 6), st.integers(0, 99))
def test_agrees_with_the_formula(d, extra, seed):
    R = torch.randn(d + extra, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    expected = sum((R[:, i] @ R[:, j] - float(i == j)) ** 2 for i in range(d) for j in range(d)) ** 0.5 / d**0.5
    torch.testing.assert_close(drift(R), expected)
    torch.testing.assert_close(drift(R.mT.contiguous()), expected)


@given(st.integers(1, 12), st.floats(-0.5, 0.5))
def test_is_zero_for_a_rotation_and_grows_with_its_scale(d, e):
    assert drift(rotation(d, d)).item() == pytest.approx(0, abs=1e-12)
    assert drift((1 + e) * rotation(d, d)).item() == pytest.approx(abs((1 + e) ** 2 - 1), abs=1e-12)


@pytest.mark.parametrize(("statistic", "expected"), [("max", 3.0), ("mean", 1.0)])
def test_every_matrix_of_a_batch_counts(statistic, expected):
    good = torch.stack([rotation(4, 4, seed=s) for s in range(2)])
    assert drift(good, 2 * rotation(4, 4), statistic=statistic).item() == pytest.approx(expected)


def test_half_precision_weights_are_multiplied_in_float32():
    R = rotation(64, 64).to(torch.bfloat16)
    torch.testing.assert_close(drift(R), drift(R.double()).float(), rtol=1e-4, atol=0)
