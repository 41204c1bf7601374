"""What acts within a step acts in the step of the optimizer that it concerns, once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from homeostat import Homeostat, Loop
from homeostat.actuators import ClipNorm, LearningRate, RotationRetraction, UpdateLimit
from homeostat.laws import Hold, Schedule
from homeostat.observers import GradientNorm, Loss
from homeostat.profile import Profile
from tests.training import Training

E = 2.718281828


class Pair(nn.Module):
    """Two layers, each with an optimizer of its own; the first one's is the clock."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def give_gradients(self, scale: float = 1.0) -> None:
        for p in self.parameters():
            p.grad = torch.full_like(p, scale)


def test_a_matrix_is_pulled_once_a_tick_in_the_step_of_its_own_optimizer():
    model = Pair()
    with torch.no_grad():
        model.second.weight.copy_(torch.eye(4) * 1.1)
    clock, other = SGD(model.first.parameters(), lr=0.1), SGD(model.second.parameters(), lr=0.0)
    loop = Loop(Loss(), Hold(), RotationRetraction(parameters="second.weight", start=1.0))
    Homeostat([loop]).attach(model, clock, other)
    model.give_gradients()
    clock.step()
    assert torch.equal(model.second.weight, torch.eye(4) * 1.1)
    other.step()
    assert model.second.weight[0, 0].item() == pytest.approx(1.1 * (1 + (1 - 1.1**2) / 2))


def test_the_update_limit_judges_each_step_by_the_optimizer_that_makes_it():
    model = Pair()
    clock, other = SGD(model.first.parameters(), lr=100.0), SGD(model.second.parameters(), lr=100.0)
    homeostat = Homeostat([Loop(Loss(), Hold(), UpdateLimit(start=0.1))]).attach(model, clock, other)
    (memory,) = homeostat._engine.runners[0].memories
    copied = []
    for optimizer in (clock, other):
        handle = optimizer.register_step_post_hook(lambda *_: copied.append(len(memory.before)))
        before = [p.detach().clone() for p in model.parameters()]
        model.give_gradients()
        optimizer.step()
        handle.remove()
        for p, old in zip(model.parameters(), before, strict=True):
            assert (p - old).norm() <= 0.1 * max(old.norm().item(), 1e-3 * p.numel() ** 0.5) * (1 + 1e-5)
    assert copied == [2, 2]
    assert not torch.equal(model.first.weight, Pair().first.weight)
    assert not torch.equal(model.second.weight, Pair().second.weight)


def as_the_scaler_does(optimizer: Optimizer, scale: float, found: float = 0.0) -> None:
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(scale), torch.tensor(found)
    optimizer.step()
    del optimizer.grad_scale, optimizer.found_inf


def test_a_gradient_is_unscaled_as_its_own_optimizer_says():
    model = Pair()
    clock, other = AdamW(model.first.parameters(), lr=0.1, fused=True), SGD(model.second.parameters(), lr=0.1)
    loops = [
        Loop(GradientNorm(), Hold(), ClipNorm(start=1.0), every=1),
        *(Loop(GradientNorm(group=i), Hold(), LearningRate(groups=(i,)), every=1, name=f"{i}") for i in range(2)),
    ]
    homeostat = Homeostat(loops).attach(model, clock, other)
    for scale in (64.0, 32.0):
        for p in model.first.parameters():
            p.grad = torch.full_like(p, scale)
        for p in model.second.parameters():
            p.grad = torch.full_like(p, 1.0)
        as_the_scaler_does(clock, scale)
        other.step()
        # Both sets have the norm sqrt(20), the joint norm is sqrt(40); a fused step leaves its gradients unscaled.
        assert model.first.bias.grad[0].item() == pytest.approx(1 / 40**0.5)
        assert model.second.bias.grad[0].item() == pytest.approx(1 / 40**0.5)
    norms: list[Any] = [homeostat.trace.loop(name)["reading.0"].tolist() for name in ("clip_norm", "0", "1")]
    assert norms[0] == pytest.approx([40**0.5] * 2)
    assert norms[1] == norms[2] == pytest.approx([20**0.5] * 2)


def test_a_step_that_a_second_fused_optimizer_skips_is_not_acted_on():
    model = Pair()
    clock, other = SGD(model.first.parameters(), lr=0.1), Adam(model.second.parameters(), lr=0.1, fused=True)
    with torch.no_grad():
        model.second.weight.copy_(torch.eye(4) * 1.1)
    loop = Loop(Loss(), Hold(), RotationRetraction(parameters="second.weight", start=1.0))
    homeostat = Homeostat([loop]).attach(model, clock, other)
    model.give_gradients()
    clock.step()
    as_the_scaler_does(other, 1.0, found=1.0)
    assert torch.equal(model.second.weight, torch.eye(4) * 1.1)
    assert homeostat.tick == 1


@pytest.mark.parametrize("part", [LearningRate(groups=(1,), low=0.1, high=9.0)])
def test_a_group_that_the_clock_is_given_later_does_not_shift_the_numbers(part):
    model, late = Pair(), nn.Parameter(torch.ones(5))
    clock, other = SGD(model.first.parameters(), lr=0.1), SGD(model.second.parameters(), lr=0.1)
    loop = Loop(GradientNorm(group=1), Schedule(profile=Profile(points=((0, 1.0),))), part, every=1)
    homeostat = Homeostat([loop]).attach(model, clock, other)
    clock.add_param_group({"params": [late], "lr": 0.1})
    model.give_gradients()
    late.grad = torch.full((5,), 7.0)
    before = model.second.bias.detach().clone()
    clock.step()
    other.step()
    assert (before - model.second.bias).tolist() == pytest.approx([0.1 * E] * 4)
    assert late.tolist() == pytest.approx([1 - 0.7] * 5)
    assert homeostat.trace.loop("learning_rate")["reading.0"].tolist() == pytest.approx([20**0.5])


def test_a_group_added_later_of_another_size_goes_on_with_every_part():
    training = Training()
    homeostat = training.attach(
        [Loop(GradientNorm(), Hold(), UpdateLimit(start=0.01), every=1), Loop(Loss(), Hold(), ClipNorm(start=1.0))]
    )
    training.run(12)
    late = nn.Parameter(torch.ones(3, 5))
    training.optimizer.add_param_group({"params": [late], "lr": 1.0})
    for _ in range(3):
        late.grad = torch.ones_like(late)
        before = late.detach().clone()
        training.optimizer.step()
        assert (late.detach() - before).norm().item() == pytest.approx(0.01 * before.norm().item(), rel=1e-4)
    assert homeostat.tick == 15
