"""One weight at both ends of a decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echo_reference.modules.tied import Ends, score

TOKENS = torch.tensor([[3, 5, 3], [0, 5, 1]])


def both_ends() -> tuple[nn.Embedding, nn.Linear]:
    torch.manual_seed(0)
    embedding, layer = nn.Embedding(7, 16), nn.Linear(16, 7, bias=False)
    layer.weight = embedding.weight
    return embedding.double(), layer.double()


def loss(embedding: nn.Embedding, layer: nn.Linear, ends: Ends | None) -> Tensor:
    rows = embedding(TOKENS) if ends is None else ends.read(TOKENS)
    return score(layer, ends, rows.tanh()).square().sum()


def test_the_gradient_of_both_ends_is_the_dense_one_and_so_is_its_own():
    embedding, layer = both_ends()
    ends = Ends.of(embedding, layer)
    assert ends is not None
    dense, tied = (torch.autograd.grad(loss(embedding, layer, each), layer.weight)[0] for each in (None, ends))
    assert tied.layout == torch.strided
    torch.testing.assert_close(tied, dense)
    second = []
    for each in (None, Ends.of(embedding, layer)):
        (gradient,) = torch.autograd.grad(loss(embedding, layer, each), layer.weight, create_graph=True)
        second.append(torch.autograd.grad(gradient.square().sum(), layer.weight)[0])
    torch.testing.assert_close(second[1], second[0])


def test_one_end_alone_has_its_own_gradient():
    embedding, layer = both_ends()
    ends = Ends.of(embedding, layer)
    assert ends is not None
    for mine, alone in (
        (ends.read(TOKENS).square().sum(), F.embedding(TOKENS, layer.weight).square().sum()),
        (F.linear(torch.ones(2, 16).double(), ends.scores).exp().sum(), layer(torch.ones(2, 16).double()).exp().sum()),
    ):
        found, expected = (torch.autograd.grad(each, layer.weight, retain_graph=True)[0] for each in (mine, alone))
        assert found.layout == torch.strided
        torch.testing.assert_close(found, expected)


def test_what_is_more_than_a_product_or_not_shared_has_no_ends():
    embedding, layer = both_ends()
    assert Ends.of(embedding, nn.Linear(16, 7, bias=False)) is None
    assert Ends.of(nn.Sequential(embedding), layer) is None
    with torch.no_grad():
        assert Ends.of(embedding, layer) is None
    handle = layer.register_forward_hook(lambda *_: None)
    assert Ends.of(embedding, layer) is None
    handle.remove()
    assert Ends.of(embedding, layer) is not None
    biased = nn.Linear(16, 7)
    biased.weight = embedding.weight
    assert Ends.of(embedding, biased) is None
