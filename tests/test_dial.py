"""A dial that is moved between a forward pass and its backward pass."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from homeostat import nn as hnn


class Block(nn.Module):
    """y = (gain w x)^2 with dropout, whose backward pass needs what the forward pass computed."""

    def __init__(self, *, host: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
        self.gain, self.dropout, self.host = hnn.Dial(2.0), hnn.Dropout(0.5), host

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gain = self.gain.value if self.host else self.gain()
        return self.dropout((gain * self.weight * x).square())


def gradient(moves: str, *, host: bool, recompute: bool, reentrant: bool = False) -> list[torch.Tensor]:
    """The gradients of two passes; the dials move where `moves` says so: F forward, B backward, M move."""
    torch.manual_seed(0)
    block, passes, found, gain = Block(host=host), [], [], 2.0
    x = torch.randn(64, 3, requires_grad=True)
    for move in moves:
        if move == "M":
            gain += 1.0
            block.gain.set(gain)
            block.dropout.rate.set(0.1 * gain)
        elif move == "F":
            passes.append(checkpoint(block, x, use_reentrant=reentrant) if recompute else block(x))
        else:
            block.weight.grad = None
            passes.pop(0).sum().backward()
            found.append(block.weight.grad.clone())
    return found


@pytest.mark.parametrize("host", [False, True], ids=["tensor", "number"])
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("moves", ["FMBFB", "FMMBFMB", "MFBMFB", "FBMFB", "FMBMFB"])
def test_what_is_computed_again_sees_what_the_forward_pass_saw(moves, host, reentrant):
    plain = gradient(moves, host=host, recompute=False)
    again = gradient(moves, host=host, recompute=True, reentrant=reentrant)
    torch.testing.assert_close(again, plain, rtol=0, atol=0)
    assert not torch.equal(plain[0], plain[1]) or "M" not in moves[1:]


def test_a_write_is_seen_at_once_outside_of_a_backward_pass():
    dial = hnn.Dial(1.0)
    dial.set(2.0)
    assert (dial.peek(), dial.value, dial().item()) == (2.0, 2.0, 2.0)
    dial.set(3.0)
    assert dial().item() == 3.0
    dial.set(4.0)
    assert copy.deepcopy(dial).value == 4.0
