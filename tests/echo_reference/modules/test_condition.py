from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from echo_reference.modules.attention import SelfAttention, Turning
from echo_reference.modules.rotation import AngleCondition, compose
from echo_reference.modules.stack import Heard, Turner
from homeostat.nn import Dial
from tests.echo_reference.small import generic_echo, small_config

POSITIONS = torch.arange(4)


def turner(gate: float) -> Turner:
    torch.manual_seed(0)
    made = Turner(small_config(rotation_sharing="conditional").text(), Dial(100.0), 6)
    assert isinstance(made.condition, AngleCondition)
    nn.init.constant_(made.condition.gate, gate)
    return made


def matrices(made: Turner, heard: Tensor, mask: Tensor | None = None) -> Tensor:
    return torch.stack([turning.rotation for turning in made(POSITIONS, None, Heard(heard, mask))])


def test_a_closed_gate_rotates_every_clip_alike() -> None:
    made = turner(0.0)
    alone = compose([slot.rotation for slot in made.slots])
    torch.testing.assert_close(matrices(made, torch.randn(3, 5, 6)), alone[:, None, None].expand(2, 3, 1, 8, 8))


def test_an_open_gate_rotates_by_the_mean_of_what_is_valid_and_stays_orthogonal() -> None:
    made, heard = turner(1.0), torch.randn(2, 5, 6)
    mask = torch.arange(5) < torch.tensor([[5], [3]])
    rotated = matrices(made, heard, mask)
    assert (rotated[:, 0] - rotated[:, 1]).abs().max() > 1e-3
    torch.testing.assert_close(matrices(made, heard[1:, :3])[:, 0], rotated[:, 1])
    torch.testing.assert_close(matrices(made, heard.flip(1), mask.flip(1)), rotated)
    torch.testing.assert_close(rotated.mT @ rotated, torch.eye(8).expand_as(rotated), atol=1e-5, rtol=0)


@pytest.mark.parametrize("heads", [(), (4,)])
def test_applied_to_the_result_or_folded_into_the_weights_it_is_one_function(heads: tuple[int, ...]) -> None:
    attention = generic_echo().encoder.blocks[0].attention.double()
    assert isinstance(attention, SelfAttention)
    rotation = torch.linalg.qr(torch.randn(*heads, 8, 8, dtype=torch.float64))[0]
    x = torch.randn(2, 7, 32, dtype=torch.float64)
    angles = torch.randn(2, 7, 4, dtype=torch.float64)
    folded = attention(x, Turning(0, rotation, angles))
    by_clip = rotation.expand(4, 8, 8).expand(2, 4, 8, 8)
    torch.testing.assert_close(attention(x, Turning(0, by_clip, angles)), folded)
