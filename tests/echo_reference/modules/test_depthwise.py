from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from echo_reference.modules.depthwise import correlate, depthwise


@given(batch=st.integers(1, 3), length=st.integers(1, 70), lags=st.integers(0, 20).map(lambda half: 2 * half + 1))
def test_correlations_are_those_of_the_definition(batch: int, length: int, lags: int) -> None:
    generator = torch.Generator().manual_seed(length)
    x, y = (torch.randn(batch, length, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    near = F.pad(x, (0, 0, lags // 2, lags // 2)).unfold(1, lags, 1)
    torch.testing.assert_close(correlate(x, y, lags), torch.einsum("btcl,btc->cl", near, y))


def test_it_is_the_convolution_with_its_first_and_second_derivatives() -> None:
    x = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 1, 1, 5, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    expected = F.conv1d(x.mT, weight.squeeze(2), bias, padding=2, groups=3).mT
    torch.testing.assert_close(depthwise(x, weight, bias), expected)
    assert torch.autograd.gradcheck(depthwise, (x, weight, bias))
    assert torch.autograd.gradgradcheck(lambda x, weight: depthwise(x, weight, None), (x, weight))
