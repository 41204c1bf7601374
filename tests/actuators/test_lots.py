"""Which steps a limit looks at."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.optim import SGD

from homeostat.actuators import ClipNorm, gradient, lots
from homeostat.actuators.lots import Lots
from homeostat.actuators.probe import MANY, Probe
from homeostat.plant import Plant


def course(rule, unquiet, steps, part=None, start=0):
    """Return which steps a rule (lot, calm) inspects, where those in `unquiet` come near the limit."""
    part, seen, (lot, calm) = part or Lots(), [], rule
    for tick in range(start, steps):
        if part.due(tick, lot, calm):
            seen.append(tick)
            part.note(tick, torch.tensor(tick in unquiet))
    return seen


def test_every_step_until_calm_ones_in_a_row_are_quiet_and_then_one_in_a_lot():
    # Near at 2: five quiet steps follow it. Near at 14, between two looks, passes; at 15 it is seen.
    assert course((5, 5), {2, 14}, 22) == [0, 1, 2, 3, 4, 5, 6, 7, 10, 15, 20]
    assert course((5, 5), {15}, 24) == [0, 1, 2, 3, 4, 5, 10, 15, 16, 17, 18, 19, 20]


def test_a_fault_makes_every_step_be_looked_at_again():
    part = Lots()
    course((5, 3), set(), 8, part)
    assert part.hear(1)
    assert not part.hear(1)
    assert course((5, 3), set(), 14, part, 8) == [8, 9, 10]


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(1, 6), st.sets(st.integers(0, 60)), st.integers(0, 60), st.booleans())
def test_it_goes_on_from_its_saved_state(lot, calm, unquiet, cut, on_device):
    with pytest.MonkeyPatch.context() as patch:
        if on_device:
            patch.setattr(lots, "at_hand", lambda _: None)
        whole, first, second = Lots(), Lots(), Lots()
        expected = course((lot, calm), unquiet, 60, whole)
        seen = course((lot, calm), unquiet, cut, first)
        second.load(first.save(), 0)
        assert [*seen, *course((lot, calm), unquiet, 60, second, cut)] == [t for t in expected if t < 60 or t in seen]


def test_what_a_device_says_is_heard_eight_steps_late(monkeypatch):
    monkeypatch.setattr(lots, "at_hand", lambda _: None)
    assert course((5, 3), set(), 22) == [*range(11), 15, 20]


@settings(max_examples=5, deadline=None)
@given(st.sampled_from([0.002, 0.02, 0.1]), st.integers(0, 99))
def test_the_share_that_passes_without_a_look_is_that_of_the_docstring(p, seed):
    lot, calm, steps = 10, 20, 60_000
    unquiet = set((torch.rand(steps, generator=torch.Generator().manual_seed(seed)) < p).nonzero().flatten().tolist())
    seen = set()
    part = Lots()
    for tick in range(steps):
        if part.due(tick, lot, calm):
            seen.add(tick)
            part.quiet = 0 if tick in unquiet else part.quiet + 1
    q = (1 - p) ** calm
    share = (1 - 1 / lot) * q / (q + (1 - q) / lot)
    assert len(unquiet - seen) / len(unquiet) == pytest.approx(share, abs=4 * (share / len(unquiet)) ** 0.5 + 0.01)


def clipped(monkeypatch, *, sharded, sizes, watched=None):
    """The norms that a clip at 1 leaves of gradients of these, and the ticks at which it has looked at all of them."""
    looked, measure = [], gradient.gradient_norm
    plant = Plant(model := torch.nn.Linear(3, 2), (SGD(model.parameters(), lr=0.1),))
    monkeypatch.setattr(gradient, "gradient_norm", lambda p: looked.append(p.tick) or measure(p))
    monkeypatch.setattr(gradient, "is_sharded", lambda _: sharded)
    part = ClipNorm(start=1.0, lot=10, calm=5)
    memory, norms = part.init(plant), []
    for plant.tick, size in enumerate(sizes):
        plant.forget()
        model.weight.grad, model.bias.grad = torch.full((2, 3), size / 6**0.5), torch.zeros(2)
        if watched is not None:
            model.weight.grad, model.bias.grad = torch.full((2, 3), watched / 6**0.5), torch.tensor([size, 0.0])
        part.before_step(plant, memory)
        norms.append(torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item())
    return norms, looked


def test_a_clip_with_a_lot_passes_over_quiet_steps_only(monkeypatch):
    # An outlier at 13 falls between two looks; one from 26 on is seen at 30, and all that follow it are.
    sizes = [0.5] * 13 + [4.0] + [0.5] * 12 + [4.0] * 10 + [0.5] * 4
    norms, looked = clipped(monkeypatch, sharded=True, sizes=sizes)
    assert norms == pytest.approx([0.5] * 13 + [4.0] + [0.5] * 12 + [4.0] * 4 + [1.0] * 6 + [0.5] * 4)
    assert looked == [0, 1, 2, 3, 4, 10, 20, *range(30, 40)]


def test_a_clip_that_can_probe_finds_every_outlier_and_looks_at_hardly_another_step(monkeypatch):
    sizes = [0.5] * 13 + [4.0] + [0.5] * 12 + [4.0] * 10 + [0.5] * 4
    norms, looked = clipped(monkeypatch, sharded=False, sizes=sizes)
    assert norms == pytest.approx([min(size, 1.0) for size in sizes])
    # What the probe has told of needs no looks afterwards.
    assert looked == [0, 1, 2, 3, 4, 10, 13, 20, *range(26, 36)]


def test_an_outlier_that_the_probe_did_not_tell_of_makes_every_step_be_looked_at(monkeypatch):
    # It is found by the lot, at 20, since the weight that the probe watches stays as it was.
    sizes = [0.5] * 19 + [4.0] * 3 + [0.5] * 10
    norms, looked = clipped(monkeypatch, sharded=False, sizes=sizes, watched=0.3)
    assert norms == pytest.approx([*sizes[:20], 1.0, 1.0, *sizes[22:]], rel=0.2)
    assert looked == [0, 1, 2, 3, 4, 10, *range(20, 27), 30]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0.1, 3.0), st.floats(0.5, 2.0)), min_size=2, max_size=30), st.data())
def test_a_probe_takes_all_for_grown_as_its_own_gradient_has_and_goes_on_from_its_saved_state(steps, data):
    weights = [torch.nn.Parameter(torch.ones(n, dtype=torch.float64)) for n in (5, 2, 3, 7, 4)]
    cut = data.draw(st.integers(1, len(steps) - 1))
    limit = data.draw(st.floats(0.5, 5.0))
    whole, resumed = Probe(4), Probe(4)
    for step, (size, norm) in enumerate(steps):
        for weight in weights[:-1]:
            weight.grad = torch.full_like(weight, size)
        if step == cut:
            resumed.load(weights, whole.save(weights))
        if step >= cut:
            recent = steps[max(0, step - 4) : step]
            told = size / max(s for s, _ in recent) * max(n for _, n in recent)
            assume(abs(told - limit) > 1e-9)
            assert resumed.stands_out(limit) == whole.stands_out(limit) == (told > limit)
            resumed.note(weights, norm)
        whole.note(weights, norm)
    assert whole.save(weights)[0] == [1]


@pytest.mark.parametrize("gradient", [None, torch.full((3,), math.nan), torch.full((3,), math.inf)])
def test_a_probe_without_a_finite_gradient_stands_out(gradient):
    weight = torch.nn.Parameter(torch.ones(3))
    probe = Probe(4)
    assert probe.stands_out(10.0)
    weight.grad = torch.ones(3)
    probe.note([weight], 2.0)
    assert not probe.stands_out(10.0)
    weight.grad = gradient
    assert probe.stands_out(10.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
@pytest.mark.parametrize("shape", [(3,), (4, 2), (MANY + 1,), (70, 90)])
def test_a_probe_follows_the_size_of_any_gradient(dtype, shape):
    weight = torch.nn.Parameter(torch.ones(shape, dtype=dtype))
    gradient, probe = torch.randn(shape).to(dtype), Probe(4)
    weight.grad = gradient
    probe.note([weight], 2.0)
    for factor in (0.5, 1.0, 2.0, 4.0):
        weight.grad = gradient * factor
        assert probe.stands_out(2.0 * factor * 0.95)
        assert not probe.stands_out(2.0 * factor * 1.05)


def test_a_probe_follows_a_sparse_gradient():
    table, probe = torch.nn.Embedding(5, 3, sparse=True), Probe(4)
    for factor in (1.0, 2.0):
        table.zero_grad()
        (factor * table(torch.tensor([1, 4]))).sum().backward()
        if factor == 1.0:
            probe.note([table.weight], 2.0)
        assert probe.stands_out(2.0 * factor * 0.95)
        assert not probe.stands_out(2.0 * factor * 1.05)


def test_a_probe_watches_a_gradient_that_is_not_zero_and_stands_out_where_there_is_none():
    weights = [torch.nn.Parameter(torch.ones(n)) for n in (5, 2, 3, 3)]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    probe = Probe(4)
    probe.note(weights, 0.0)
    assert probe.stands_out(10.0)
    weights[0].grad.fill_(1.0)
    probe.note(weights, 2.0)
    assert probe.save(weights)[0] == [0]
    assert not probe.stands_out(10.0)
    # Another, a hundredth as large, is measured against itself.
    weights[0].grad.zero_()
    weights[1].grad.fill_(0.01)
    probe.note(weights, 2.0)
    assert probe.save(weights)[0] == [1]
    weights[1].grad.fill_(0.3)
    assert probe.stands_out(10.0)


def test_a_scaled_gradient_is_looked_at_in_every_step(monkeypatch):
    looked, measure = [], gradient.gradient_norm
    monkeypatch.setattr(gradient, "gradient_norm", lambda p: looked.append(p.tick) or measure(p))
    optimizer = SGD((model := torch.nn.Linear(3, 2)).parameters(), lr=0.1)
    plant = Plant(model, (optimizer,))
    part = ClipNorm(start=1.0, lot=10, calm=3)
    memory = part.init(plant)
    for plant.tick in range(8):
        # Halved at 5, where the gradient grows with it: by itself no larger than before.
        optimizer.grad_scale = torch.tensor(8.0 if plant.tick < 5 else 4.0)
        plant.begin(optimizer)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 1.0)
        part.before_step(plant, memory)
        plant.end()
    assert looked == list(range(8))
