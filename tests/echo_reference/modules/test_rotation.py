from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from echo_reference.modules.rotation import Rotation, chain_product, compose, givens_matrices, givens_schedule

WIDTHS = st.integers(2, 12).map(lambda half: 2 * half)


@given(WIDTHS)
def test_the_schedule_meets_every_plane_once_but_the_rotary_ones(width: int) -> None:
    planes = []
    for partner in givens_schedule(width):
        assert all(partner[partner[i]] == i != partner[i] for i in range(width))
        planes += [(i, j) for i, j in enumerate(partner) if i < j]
    rotary = {(p, p + width // 2) for p in range(width // 2)}
    everything = {(i, j) for j in range(width) for i in range(j)}
    assert len(planes) == len(set(planes))
    assert set(planes) == everything - rotary


def test_a_round_turns_in_its_planes_by_its_angles() -> None:
    angles = torch.randn(3, 4, dtype=torch.float64)
    vector = torch.randn(8, dtype=torch.float64)
    for matrix, partner, angle in zip(givens_matrices(angles), givens_schedule(8), angles, strict=False):
        turned = vector.clone()
        lower = [i for i, j in enumerate(partner) if i < j]
        for i, a in zip(lower, angle, strict=True):
            pair = torch.complex(vector[i], vector[partner[i]]) * torch.polar(torch.ones_like(a), a)
            turned[i], turned[partner[i]] = pair.real, pair.imag
        torch.testing.assert_close(vector @ matrix, turned)


@given(st.integers(1, 9))
def test_the_chain_product_keeps_the_order(count: int) -> None:
    matrices = torch.randn(2, count, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(count))
    expected = torch.stack([torch.linalg.multi_dot([*m, torch.eye(3, dtype=m.dtype)]) for m in matrices])
    torch.testing.assert_close(chain_product(matrices), expected)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("copies", [(), (3,)])
def test_norms_survive_the_rotation_in_float32(exact: bool, copies: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    rotations = [Rotation(16, copies, 6, exact, 1.0) for _ in range(2)]
    for rotation in rotations:
        if exact:
            torch.nn.init.normal_(rotation.skew)
        else:
            for matrix in rotation.matrix.view(-1, 16, 16):
                torch.nn.init.orthogonal_(matrix)
    vectors = torch.randn(100, 16)
    turned = vectors @ compose(rotations)
    assert turned.shape == (2, *copies, 100, 16)
    torch.testing.assert_close(turned.norm(dim=-1), vectors.norm(dim=-1).expand(turned.shape[:-1]), rtol=2e-6, atol=0)


def test_the_exact_mode_is_orthogonal_wherever_training_takes_it() -> None:
    rotation = Rotation(8, (), 3, True, 0.1)
    optimizer = torch.optim.SGD(rotation.parameters(), lr=1.0)
    target = torch.randn(8, 8)
    for _ in range(20):
        optimizer.zero_grad()
        (compose([rotation])[0] - target).square().sum().backward()
        optimizer.step()
    matrix = compose([rotation])[0].double()
    assert rotation.skew.abs().max() > 0.1
    assert (matrix.T @ matrix - torch.eye(8)).norm() < 1e-5


def test_the_defect_is_the_distance_from_orthogonality() -> None:
    rotation = Rotation(4, (), 1, False, 0.1)
    assert rotation.defect().item() == 0.0
    with torch.no_grad():
        rotation.matrix[0, 0] = 2.0
    assert rotation.defect().item() == 9.0
