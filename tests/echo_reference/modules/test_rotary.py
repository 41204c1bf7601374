from __future__ import annotations

import pytest
import torch

from echo_reference.modules.rotary import Rotary
from echo_reference.modules.turn import factors, interleaved, turn, with_values
from homeostat.nn import Dial


def rotary(scales: tuple[float, ...] = (1.0, 0.5), scale: float = 1.0) -> Rotary:
    return Rotary(8, 2, scales, scale, Dial(100.0))


def test_angles_are_position_times_frequency() -> None:
    module = rotary()
    angles = module(torch.arange(5))
    expected = torch.arange(5.0)[:, None] * 100.0 ** (-torch.arange(4.0) / 4)
    torch.testing.assert_close(angles[0], torch.stack((expected, expected / 2)))


def test_a_change_of_base_keeps_what_was_learned() -> None:
    module = rotary()
    with torch.no_grad():
        module.log_frequency_offset.copy_(torch.randn(2, 4))
    before = module.frequencies()
    module.base.set(1e4)
    ratio = module.frequencies() / before
    torch.testing.assert_close(ratio, (100.0 ** (-torch.arange(4.0) / 4)).expand(2, 4))


def test_position_scale_zero_is_the_identity() -> None:
    qkv = torch.randn(2, 5, 3, 4, 8)
    for got, given in zip(turn(qkv, rotary(scale=0.0)(torch.arange(5))[0]), qkv.unbind(2), strict=True):
        assert torch.equal(got, given.transpose(1, 2))


def test_products_depend_on_the_distance_alone() -> None:
    one = torch.randn(1, 1, 3, 2, 8, dtype=torch.float64).expand(1, 9, 3, 2, 8)
    q, k, _ = turn(one, rotary().double()(torch.arange(9))[0])
    products = q @ k.mT
    torch.testing.assert_close(products[..., 1:, 1:], products[..., :-1, :-1])


def test_the_fused_turn_has_the_right_first_and_second_derivatives() -> None:
    qkv = torch.randn(2, 3, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    angles = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(turn, (qkv, angles))
    assert torch.autograd.gradgradcheck(turn, (qkv, angles))
    q, k, _ = turn(qkv, angles)
    by_head = angles.repeat_interleave(2, 0).transpose(0, 1)
    for got, given in ((q, qkv[:, :, 0]), (k, qkv[:, :, 1])):
        plane = torch.complex(given[..., ::2], given[..., 1::2]) * torch.polar(torch.ones_like(by_head), by_head)
        torch.testing.assert_close(got.transpose(1, 2), torch.view_as_real(plane).flatten(-2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_one_position_with_its_factors_made_before_turns_as_among_others(dtype: torch.dtype) -> None:
    qkv, angles = torch.randn(2, 5, 3, 4, 8, dtype=dtype), rotary()(torch.arange(5))
    tolerance = 0.02 if dtype == torch.bfloat16 else 1e-6
    every = turn(qkv.double(), angles[0].double())
    with torch.no_grad():
        made = with_values(factors(angles))[0]
        for t in range(5):
            one = turn(qkv[:, t : t + 1].contiguous(), angles[0][:, t : t + 1], made[t : t + 1])
            for got, expected in zip(one, every, strict=True):
                assert got.shape == (2, 4, 1, 8)
                torch.testing.assert_close(got[:, :, 0].double(), expected[:, :, t], rtol=tolerance, atol=tolerance)


def test_half_types_turn_by_the_real_formula_to_the_same_result() -> None:
    qkv = torch.randn(2, 5, 3, 4, 8)
    angles = rotary()(torch.arange(5))[0]
    qkv, half = qkv.requires_grad_(), qkv.bfloat16().requires_grad_()
    for got, expected in zip(turn(half, angles), turn(qkv, angles), strict=True):
        torch.testing.assert_close(got.float(), expected, rtol=0.02, atol=0.02)
    given = torch.randn(3, 2, 4, 5, 8)
    (exact,) = torch.autograd.grad(turn(qkv, angles), qkv, [*given])
    (got,) = torch.autograd.grad(turn(half, angles), half, [*given.bfloat16()])
    torch.testing.assert_close(got.float(), exact, rtol=0.02, atol=0.02)


def test_interleaving_brings_the_features_of_a_plane_together() -> None:
    assert interleaved(torch.arange(6.0)[None]).tolist() == [[0, 3, 1, 4, 2, 5]]


def test_frequencies_keep_their_precision_under_casts() -> None:
    module = rotary()
    torch.nn.init.normal_(module.log_frequency_offset)
    angles = module(torch.arange(1504))
    cast = module.to(torch.bfloat16)
    assert cast.base.value == 100.0
    assert torch.equal(cast(torch.arange(1504)), angles)
    assert module.double().position_scale.dtype == torch.float64
