"""Taking and restoring is the identity, for models and optimizers of all kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adagrad, Adam, AdamW, NAdam, Optimizer, RMSprop

from homeostat.guards.snapshot import SnapshotPolicy, Snapshots
from homeostat.guards.tensor_tree import PutBack, TakeApart, rebuilt, take_apart
from homeostat.plant import Plant

OPTIMIZERS: dict[str, Callable[[list[Tensor]], Optimizer]] = {
    "adam": lambda p: Adam(p, lr=1e-2, amsgrad=True),
    "adamw foreach": lambda p: AdamW(p, lr=1e-2, foreach=True),
    "adamw fused": lambda p: AdamW(p, lr=1e-2, fused=True),
    "adamw, rate a tensor": lambda p: AdamW(p, lr=torch.tensor(1e-2), foreach=False),
    "sgd": lambda p: SGD(p, lr=1e-2),
    "sgd momentum": lambda p: SGD(p, lr=1e-2, momentum=0.9, nesterov=True),
    "adagrad": lambda p: Adagrad(p, lr=1e-2),
    "rmsprop": lambda p: RMSprop(p, lr=1e-2, momentum=0.5, centered=True),
    "nadam": lambda p: NAdam(p, lr=1e-2),
    "lbfgs": lambda p: LBFGS(p, lr=0.1, max_iter=2, history_size=2),
}


class Odd(nn.Module):
    """A model with what is easily forgotten: tied, empty, frozen and half-precision parameters, views, integers."""

    def __init__(self, width: int, half: bool) -> None:
        super().__init__()
        kind = torch.bfloat16 if half else torch.float32
        self.encode = nn.Linear(3, width, dtype=kind)
        self.decode = nn.Linear(3, width, bias=False, dtype=kind)
        self.decode.weight = self.encode.weight
        self.empty = nn.Parameter(torch.empty(0, 4))
        self.unused = nn.Parameter(torch.ones(2))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.norm = nn.BatchNorm1d(width)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("table", torch.arange(3).expand(2, 3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        y = self.encode(x.to(self.encode.weight.dtype)) + self.decode(x.to(self.encode.weight.dtype))
        return self.norm(y.float()).square().mean() + y.float().mean()


def train(model: Odd, optimizer: Optimizer, batches: int, start: int) -> None:
    for number in range(start, start + batches):
        x = torch.randn(5, 3, generator=torch.Generator().manual_seed(number))

        def closure(x: Tensor = x) -> Tensor:
            optimizer.zero_grad()
            loss = model(x)
            loss.backward()
            return loss

        closure()
        optimizer.step(closure) if isinstance(optimizer, LBFGS) else optimizer.step()


def everything(model: Odd, optimizer: Optimizer) -> tuple[Any, list[Tensor]]:
    skeleton, tensors = take_apart(
        [dict(model.named_parameters()), dict(model.named_buffers()), optimizer.state_dict()]
    )
    return skeleton, [tensor.clone() for tensor in tensors]


def assert_same(now: tuple[Any, list[Tensor]], then: tuple[Any, list[Tensor]]) -> None:
    assert now[0] == then[0]
    for a, b in zip(now[1], then[1], strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", OPTIMIZERS)
@settings(max_examples=5)
@given(width=st.integers(1, 4), half=st.booleans(), before=st.integers(0, 3), after=st.integers(1, 3))
def test_going_back_undoes_everything(name: str, width: int, half: bool, before: int, after: int) -> None:
    torch.manual_seed(width)
    model = Odd(width, half)
    optimizer = OPTIMIZERS[name]([p for p in model.parameters() if p.requires_grad])
    snapshots = Snapshots(SnapshotPolicy(), Plant(model, (optimizer,)))
    train(model, optimizer, before, 0)
    then = everything(model, optimizer)
    snapshots.take({})
    train(model, optimizer, after, before)
    snapshots.restore(replay=True)
    # Nothing here can be iterated over, so schedules are left alone; the optimizer's own counters are not.
    assert_same(everything(model, optimizer), then)
    # What follows is the same too, however often it is gone back.
    train(model, optimizer, 2, before)
    ahead = everything(model, optimizer)
    snapshots.restore()
    train(model, optimizer, 2, before)
    assert_same(everything(model, optimizer), ahead)


TREES = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=3), st.floats(-1, 1).map(torch.tensor)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=15)
@given(saved=TREES, live=TREES)
def test_any_tree_becomes_the_one_that_was_saved(saved: Any, live: Any) -> None:
    skeleton, tensors = take_apart(saved)
    storage = [tensor.clone() for tensor in tensors]
    back = PutBack(storage)
    merged = back.merged(live, skeleton)
    back.copy()
    for tree in (merged, rebuilt(skeleton, storage)):
        again, found = take_apart(tree)
        assert again == skeleton
        assert [tensor.item() for tensor in found] == [tensor.item() for tensor in tensors]


LEAVES = st.one_of(st.integers(0, 1), st.booleans(), st.floats(0, 1), st.just(complex(1)))


@settings(max_examples=30)
@given(trees=st.lists(TREES, min_size=1, max_size=3), order=st.lists(st.integers(0, 2), max_size=6), data=st.data())
def test_a_tree_taken_apart_again_and_again_is_as_if_for_the_first_time(trees, order, data) -> None:
    again = TakeApart()
    for turn in order:
        tree = [trees[turn % len(trees)], {"setting": data.draw(LEAVES)}]
        skeleton, tensors = again(tree)
        expected, live = take_apart(tree)
        # One, True and 1.0 are equal, and not the same.
        assert repr(skeleton) == repr(expected)
        assert list(map(id, tensors)) == list(map(id, live))


def test_the_skeleton_is_made_anew_only_where_the_tree_has_changed() -> None:
    again = TakeApart()
    weight = torch.zeros(2)
    skeleton, _ = again({"weight": weight, "step": 1})
    weight += 1
    assert again({"weight": weight, "step": 1})[0] is skeleton
    assert again({"weight": weight, "step": 2})[0] == {"weight": skeleton["weight"], "step": 2}
    assert list(again({"other": weight, "step": 2})[0]) == ["other", "step"]


def test_a_tensor_that_was_two_is_two_again() -> None:
    shared = torch.zeros(1)
    skeleton, tensors = take_apart([torch.ones(1), torch.tensor([2.0])])
    back = PutBack(tensors)
    merged = back.merged([shared, shared], skeleton)
    back.copy()
    assert merged[0] is shared
    assert [tensor.item() for tensor in merged] == [1.0, 2.0]


def test_a_tensor_that_stands_in_two_places_is_kept_once() -> None:
    rate = torch.tensor(0.1)
    skeleton, tensors = take_apart({"a": rate, "b": [rate]})
    assert len(tensors) == 1
    assert skeleton["a"] == skeleton["b"][0]
