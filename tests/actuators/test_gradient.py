import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from homeostat.actuators import ClipNorm, gradient
from homeostat.plant import Plant


def clipped(limit, seed=0, scale=None, bad=None):
    """Return the gradients before and after, joined, and the plant."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    plant, part = Plant(model, (torch.optim.SGD(model.parameters(), lr=0.1),)), ClipNorm(low=1e-9)
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype) * (scale or 1.0)
    if bad is not None:
        model[0].bias.grad[0] = bad
    plant.scales = [None if scale is None else torch.tensor(scale)]
    memory = part.init(plant)
    part.write(plant, memory, limit)
    before = torch.cat([p.grad.flatten().clone() for p in model.parameters()])
    part.before_step(plant, memory)
    part.after_step(plant, memory)
    return before, torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("limit", [1e-3, 100.0])
def test_left_to_the_device_it_is_the_same(limit, monkeypatch):
    on_host = clipped(limit)
    monkeypatch.setattr(gradient, "at_hand", lambda _: None)
    assert all(torch.equal(a, b) for a, b in zip(on_host, clipped(limit), strict=True))


@given(st.floats(1e-6, 100), st.integers(0, 99), st.sampled_from([None, 1024.0]))
def test_agrees_with_the_formula(limit, seed, scale):
    before, after = clipped(limit, seed, scale)
    norm = before.norm() / (scale or 1.0)
    if norm <= limit:
        assert torch.equal(before, after)
    else:
        torch.testing.assert_close(after, before * (limit / norm))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_non_finite_gradient_is_left_as_it_is(bad):
    before, after = clipped(1e-3, bad=bad)
    torch.testing.assert_close(after, before, rtol=0, atol=0, equal_nan=True)


def test_sparse_gradients_are_clipped_with_the_dense_ones():
    model = nn.ModuleList([nn.Embedding(5, 3, sparse=True), nn.Linear(3, 1)])
    plant, part = Plant(model, (torch.optim.SGD(model.parameters(), lr=0.1),)), ClipNorm(start=0.5)
    model[1](model[0](torch.tensor([1, 1, 4]))).square().sum().backward()
    dense = [p.grad.to_dense().clone() for p in model.parameters()]
    norm = sum(g.square().sum() for g in dense).sqrt()
    assert norm > 0.5
    part.before_step(plant, part.init(plant))
    for p, before in zip(model.parameters(), dense, strict=True):
        torch.testing.assert_close(p.grad.to_dense(), before * (0.5 / norm))


def test_it_starts_where_it_is_told_and_open_otherwise():
    plant = Plant(model := nn.Linear(2, 2), (torch.optim.SGD(model.parameters(), lr=0.1),))
    assert ClipNorm(start=2.0).read(plant, ClipNorm(start=2.0).init(plant)) == 2.0
    assert ClipNorm(high=5.0).read(plant, ClipNorm(high=5.0).init(plant)) == 5.0


@pytest.mark.parametrize("fields", [{"start": 1e9}, {"low": -1.0, "scale": "linear"}, {"low": 0.0}])
def test_a_limit_that_would_stop_the_training_is_refused(fields):
    with pytest.raises(ValueError, match="must"):
        ClipNorm(**fields)
