import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from homeostat.actuators import RotationRetraction
from homeostat.plant import Plant


def plant_of(matrix):
    model = nn.Module()
    model.R = nn.Parameter(matrix.clone())
    return Plant(model, (torch.optim.SGD(model.parameters(), lr=0.1),))


def near_rotation(*shape, drift=0.01, seed=0):
    g = torch.Generator().manual_seed(seed)
    Q = torch.linalg.qr(torch.randn(*shape, generator=g, dtype=torch.float64)).Q
    return Q + drift * torch.randn(*shape, generator=g, dtype=torch.float64) / shape[-1] ** 0.5


def retracted(matrix, strength, **fields):
    plant, part = plant_of(matrix), RotationRetraction(parameters="R", start=strength, **fields)
    memory = part.init(plant)
    part.before_step(plant, memory)
    part.after_step(plant, memory)
    part.after_step(plant, memory)
    return plant.model.R.detach()


def gap(R):
    return torch.linalg.matrix_norm(R.mT @ R - torch.eye(R.shape[-1], dtype=R.dtype)).max().item() / R.shape[-1] ** 0.5


@given(st.floats(0.0, 1.0), st.integers(0, 50))
def test_singular_values_move_as_the_formula_says_and_vectors_stay(strength, seed):
    before = near_rotation(7, 5, drift=0.1, seed=seed)
    left, s, right = torch.linalg.svd(before, full_matrices=False)
    expected = left @ torch.diag(s * (1 + strength / 2 * (1 - s * s))) @ right
    torch.testing.assert_close(retracted(before, strength), expected)


def test_at_full_strength_the_drift_is_squared_in_every_matrix_of_a_batch():
    before = torch.stack([near_rotation(16, 16, seed=s) for s in range(4)])
    assert 5e-3 < gap(before) < 0.05
    assert gap(retracted(before, 1.0)) < 2 * gap(before) ** 2


def test_iterations_follow_one_another():
    before = near_rotation(16, 16, drift=0.1)
    twice = retracted(before, 0.8, iterations=2)
    torch.testing.assert_close(twice, retracted(retracted(before, 0.8), 0.8))
    assert gap(retracted(before, 1.0, iterations=2)) < 4 * gap(before) ** 4


def test_at_zero_nothing_is_touched():
    before = near_rotation(6, 6)
    assert torch.equal(retracted(before, 0.0), before)


def test_without_a_step_nothing_is_touched():
    plant, part = plant_of(near_rotation(6, 6)), RotationRetraction(parameters="R", start=1.0)
    before = plant.model.R.detach().clone()
    part.after_step(plant, part.init(plant))
    assert torch.equal(plant.model.R.detach(), before)


def test_a_tensor_of_the_run_is_changed_in_place():
    plant, part = plant_of(near_rotation(6, 6)), RotationRetraction(parameters="R", start=1.0)
    parameter, memory = plant.model.R, part.init(plant)
    part.before_step(plant, memory)
    part.after_step(plant, memory)
    assert plant.model.R is parameter
    assert parameter.requires_grad
    assert parameter.is_leaf


@pytest.mark.parametrize("fields", [{"low": -0.1}, {"high": 1.5}, {"start": 0.9, "high": 0.5}])
def test_strength_outside_of_its_range_is_refused(fields):
    with pytest.raises(ValueError, match="must have 0 <= low <= start <= high <= 1"):
        RotationRetraction(parameters="R", **fields)
