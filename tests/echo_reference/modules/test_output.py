from __future__ import annotations

import pytest
import torch
from torch import nn

from echo_reference.modules.memo import Memo, remembering
from echo_reference.modules.output import score_tokens


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (8, 1), (3, 5), (2, 8)])
@pytest.mark.parametrize("bias", [False, True])
def test_either_order_of_factors_gives_the_layers_own_scores(shape: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    layer, hidden = nn.Linear(6, 50, bias=bias), torch.randn(*shape, 6)
    expected = layer(hidden)
    with torch.no_grad():
        found = score_tokens(layer, hidden)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected.detach())
    assert torch.equal(score_tokens(layer, hidden), expected), "training takes the layer itself"


def test_a_layer_that_somebody_wrapped_is_called() -> None:
    wrapped, hidden = nn.Sequential(nn.Linear(6, 50, bias=False), nn.Tanh()), torch.randn(8, 1, 6)
    with torch.no_grad():
        torch.testing.assert_close(score_tokens(wrapped, hidden), wrapped(hidden))


def test_a_layer_that_somebody_listens_to_is_called() -> None:
    layer, heard = nn.Linear(6, 50, bias=False), []
    layer.register_forward_hook(lambda *given: heard.append(given[2]))
    with torch.no_grad():
        scores = score_tokens(layer, torch.randn(8, 1, 6))
    assert heard[0] is scores


def test_a_long_text_of_one_clip_takes_a_copy_that_follows_the_weight() -> None:
    layer, copy, hidden = nn.Linear(6, 50, bias=False), Memo[torch.Tensor](), torch.randn(1, 1, 6)
    with torch.no_grad(), remembering(copy):
        for scale in (1.0, 2.0):
            layer.weight.mul_(scale)
            for first in (0, 40, torch.tensor(40)):
                torch.testing.assert_close(score_tokens(layer, hidden, copy, first), layer(hidden))
        assert copy([layer.weight], lambda: hidden) is not hidden, "what was kept is given again"
    with torch.no_grad():
        assert torch.equal(score_tokens(layer, hidden, copy, 40), layer(hidden)), "nothing is copied for one call"


@pytest.mark.parametrize(("width", "worth"), [(512, 16), (516, 73)])
def test_a_wider_copy_is_made_later_since_it_pays_later(width: int, worth: int) -> None:
    layer, copy, hidden = nn.Linear(width, 50, bias=False), Memo[torch.Tensor](), torch.randn(1, 1, width)
    with torch.no_grad(), remembering(copy):
        score_tokens(layer, hidden, copy, worth - 1)
        assert copy([layer.weight], lambda: hidden) is hidden, "nothing was kept"
    with torch.no_grad(), remembering(copy):
        score_tokens(layer, hidden, copy, worth)
        assert copy([layer.weight], lambda: hidden) is not hidden
