from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from echo_reference.modules.embedding import LearnedSinusoids, TokenEmbedding, sinusoids
from homeostat.nn import Dial


def embedding(width: float = 32.0) -> TokenEmbedding:
    torch.manual_seed(0)
    return TokenEmbedding(5, 32, Dial(width))


def test_full_width_is_the_identity() -> None:
    module = embedding()
    assert torch.equal(module(torch.arange(5)[None])[0], module.embedding.weight)
    hidden = torch.randn(1, 2, 32)
    assert torch.equal(module.masked(hidden), hidden)


@given(st.floats(4.0, 31.75))
def test_the_mask_keeps_the_scale_and_moves_without_a_jump(width: float) -> None:
    module = embedding(width)
    before = module.mask()
    torch.testing.assert_close(before.square().sum(), torch.tensor(32.0))
    module.active.set(width + 0.25)
    after = module.mask()
    # The first dimension is whole, so it shows the common factor c = sqrt(d / S). A step of 0.25 moves an m_i by
    # at most 0.25 (1 + r / d) / r, and S, which is above w - 1, by less than 0.4.
    assert (after / after[0] - before / before[0]).abs().max() <= 0.25 * (1 + 1 / 16) / 2 + 1e-6
    assert (after[0] - before[0]).abs() <= 0.2 * before[0] / (width - 1)
    assert (before[math.ceil(width * (1 + 1 / 16)) :] == 0).all()


def test_positions_start_as_sinusoids_and_keep_direction_and_gain_apart() -> None:
    module = LearnedSinusoids(10, 8, None)
    torch.testing.assert_close(module(0, 10), sinusoids(10, 8))
    with torch.no_grad():
        module.direction.mul_(7.0)
        module.gain.fill_(3.0)
    rows = module(2, 4)
    torch.testing.assert_close(rows.norm(dim=-1), torch.full((4,), 3.0))
    torch.testing.assert_close(rows, sinusoids(10, 8)[2:6] * 1.5)
