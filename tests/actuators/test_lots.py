"""Which steps a limit looks at."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import SGD

from homeostat.actuators import ClipNorm, gradient, lots
from homeostat.actuators.lots import Lots
from homeostat.actuators.probe import Probe
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


def clipped(monkeypatch, *, sharded, sizes):
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
        part.before_step(plant, memory)
        norms.append(model.weight.grad.norm().item())
    return norms, looked


def test_a_clip_with_a_lot_passes_over_quiet_steps_only(monkeypatch):
    # An outlier at 13 falls between two looks; one from 26 on is seen at 30, and all that follow it are.
    sizes = [0.5] * 13 + [4.0] + [0.5] * 12 + [4.0] * 10 + [0.5] * 4
    norms, looked = clipped(monkeypatch, sharded=True, sizes=sizes)
    assert norms == pytest.approx([0.5] * 13 + [4.0] + [0.5] * 12 + [4.0] * 4 + [1.0] * 6 + [0.5] * 4)
    assert looked == [0, 1, 2, 3, 4, 10, 20, *range(30, 40)]


def test_a_clip_that_can_probe_finds_every_outlier_and_looks_no_more_often_at_quiet_steps(monkeypatch):
    sizes = [0.5] * 13 + [4.0] + [0.5] * 12 + [4.0] * 10 + [0.5] * 4
    norms, looked = clipped(monkeypatch, sharded=False, sizes=sizes)
    assert norms == pytest.approx([min(size, 1.0) for size in sizes])
    # Five quiet steps in a row follow each outlier.
    assert looked == [0, 1, 2, 3, 4, 10, *range(13, 19), 20, *range(26, 40)]


@settings(max_examples=20)
@given(st.lists(st.floats(0.1, 3.0), min_size=2, max_size=30), st.data())
def test_a_probe_goes_on_from_its_saved_state(sizes, data):
    weights = [torch.nn.Parameter(torch.ones(n)) for n in (5, 2, 3, 7, 4)]
    cut = data.draw(st.integers(1, len(sizes) - 1))
    whole, resumed = Probe(4), Probe(4)
    for step, size in enumerate(sizes):
        for weight in weights[:-1]:
            weight.grad = torch.full_like(weight, size)
        if step == cut:
            resumed.load(weights, whole.save(weights))
        if step >= cut:
            assert resumed.stands_out() == whole.stands_out() == (size > max(sizes[max(0, step - 4) : step]))
            resumed.note(weights)
        whole.note(weights)
    assert whole.save(weights)[0] == [1, 2]


@pytest.mark.parametrize("gradient", [None, torch.full((3,), math.nan), torch.full((3,), math.inf)])
def test_a_probe_without_a_finite_gradient_stands_out(gradient):
    weight = torch.nn.Parameter(torch.ones(3))
    probe = Probe(4)
    assert probe.stands_out()
    weight.grad = torch.ones(3)
    probe.note([weight])
    assert not probe.stands_out()
    weight.grad = gradient
    assert probe.stands_out()
