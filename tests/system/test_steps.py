"""What is a tick, and what a step that is none, or that fails, leaves behind."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.optim import LBFGS, SGD, Adam, AdamW
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from homeostat import Homeostat, Loop
from homeostat.actuators import LearningRate, UpdateLimit
from homeostat.laws import Hold, Schedule
from homeostat.observers import GradientNorm, Loss, ProposedUpdateRatio, UpdateRatio
from homeostat.profile import Profile
from tests.training import Training, every_loop

FACTOR = Schedule(profile=Profile(points=((0, 1.0),)))  # log(e): the rate is multiplied by e
TWICE = [Loop(Loss(), FACTOR, LearningRate(low=0.1, high=10.0), every=1)]


class Fragile(SGD):
    """An optimizer whose step may fail after the rate was read."""

    fails = False
    seen: float = 0.0

    def step(self, closure: Any = None) -> Any:
        self.seen = self.param_groups[0]["lr"]
        if self.fails:
            raise RuntimeError("out of memory")
        return super().step(closure)


def problem() -> tuple[nn.Linear, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Linear(4, 1), torch.randn(16, 4)


def backward(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    loss = (model(x) - 1).square().mean()
    loss.backward()
    return loss


@pytest.mark.parametrize("scheduled", ["before attach", "after attach"])
def test_a_step_that_raises_leaves_the_rate_as_it_was_at_once(scheduled):
    model, x = problem()
    optimizer = Fragile(model.parameters(), lr=0.1)
    scheduler = ExponentialLR(optimizer, 0.5) if scheduled == "before attach" else None
    before = optimizer.step
    homeostat = Homeostat(TWICE).attach(model, optimizer)
    scheduler = scheduler or ExponentialLR(optimizer, 0.5)
    backward(model, x)
    rate = 0.1
    for fails in (False, True, True, True, False):
        if homeostat.tick == 0:
            homeostat.observe(loss=1.0)
        optimizer.fails = fails
        if fails:
            with pytest.raises(RuntimeError, match="out of memory"):
                optimizer.step()
        else:
            optimizer.step()
        assert optimizer.seen == pytest.approx(rate * 2.718281828)
        assert optimizer.param_groups[0]["lr"] == rate
        # What the scheduler derives from the rate it finds is right too.
        scheduler.step()
        rate *= 0.5
    assert homeostat.tick == 2
    homeostat.detach()
    assert optimizer.param_groups[0]["lr"] == rate
    assert scheduled == "after attach" or optimizer.step == before
    optimizer.fails = False
    optimizer.step()
    assert optimizer.seen == rate


def test_a_step_that_belongs_to_another_object_stays_its_own():
    class Counting:
        def __init__(self, inner: Any) -> None:
            self.inner, self.steps = inner, 0

        def step(self, closure: Any = None) -> None:
            self.steps += 1
            self.inner(closure)

    model, x = problem()
    optimizer = SGD(model.parameters(), lr=0.1)
    counting = Counting(optimizer.step)
    optimizer.step = counting.step
    homeostat = Homeostat(TWICE).attach(model, optimizer)
    homeostat.observe(loss=backward(model, x))
    optimizer.step()
    assert (homeostat.tick, counting.steps) == (1, 1)
    homeostat.detach()
    assert optimizer.step == counting.step


def test_attach_and_detach_leave_the_optimizers_own_step():
    model, _ = problem()
    optimizer = SGD(model.parameters(), lr=0.1)
    homeostat = Homeostat(TWICE).attach(model, optimizer)
    assert inspect.signature(optimizer.step) == inspect.signature(SGD(model.parameters(), lr=0.1).step)
    homeostat.detach()
    assert "step" not in vars(optimizer)


@pytest.mark.parametrize("how", ["keyword", "position"])
def test_with_a_closure_readings_are_of_this_step(how):
    model, x = problem()
    optimizer = LBFGS(model.parameters(), lr=0.1, max_iter=3)
    homeostat = Homeostat([Loop(Loss(), Hold(), LearningRate(), every=1)]).attach(model, optimizer)
    losses: list[float] = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = backward(model, x)
        homeostat.observe(loss=loss)
        losses.append(loss.item())
        return loss

    means = []
    for _ in range(3):
        losses.clear()
        optimizer.step(closure=closure) if how == "keyword" else optimizer.step(closure)
        means.append(sum(losses) / len(losses))
    assert homeostat.tick == 3
    assert homeostat.trace.loop("learning_rate")["reading.0"].tolist() == pytest.approx(means, rel=1e-6)


def test_with_a_closure_the_gradient_is_the_one_the_step_used():
    model, x = problem()
    optimizer = SGD(model.parameters(), lr=0.1)
    homeostat = Homeostat([Loop(GradientNorm(), FACTOR, LearningRate(low=0.1, high=10), every=1)])
    homeostat.attach(model, optimizer)
    norms = []
    for _ in range(3):

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = backward(model, x)
            # The rate must stand while the closure reports.
            homeostat.observe(loss=loss)
            assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * (2.718281828 if norms else 1.0))
            norms.append(torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item())
            return loss

        optimizer.step(closure)
    assert homeostat.trace.loop("learning_rate")["reading.0"].tolist() == pytest.approx(norms, rel=1e-6)


@pytest.mark.parametrize("how", ["keyword", "position"])
def test_a_closure_that_raises_leaves_the_rate_as_it_was_at_once(how):
    model, x = problem()
    optimizer = Fragile(model.parameters(), lr=0.1)
    scheduler = ExponentialLR(optimizer, 0.5)
    homeostat = Homeostat(TWICE).attach(model, optimizer)
    raising = False

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = backward(model, x)
        homeostat.observe(loss=loss)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate * (2.718281828 if homeostat.tick else 1.0))
        if raising:
            raise RuntimeError("out of memory")
        return loss

    rate = 0.1
    for raising in (False, True, True, True, False):
        if raising:
            with pytest.raises(RuntimeError, match="out of memory"):
                optimizer.step(closure=closure) if how == "keyword" else optimizer.step(closure)
        else:
            optimizer.step(closure)
        assert optimizer.param_groups[0]["lr"] == rate
        # What the scheduler derives from the rate it finds is right too.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler.step()
        rate *= 0.5
        assert optimizer.param_groups[0]["lr"] == rate
    assert homeostat.tick == 2


def test_an_empty_closure_is_none():
    model, x = problem()
    optimizer = SGD(model.parameters(), lr=0.1)
    homeostat = Homeostat([Loop(GradientNorm(), FACTOR, LearningRate(low=0.1, high=10), every=1)])
    homeostat.attach(model, optimizer)
    backward(model, x)
    before = model.bias.item()
    optimizer.step(None)
    # The decision was made before the step, not after it.
    assert before - model.bias.item() == pytest.approx(0.1 * 2.718281828 * model.bias.grad.item(), rel=1e-4)


def test_a_step_that_the_gradient_scaler_skips_is_no_tick():
    model, x = problem()
    optimizer = AdamW(model.parameters(), lr=0.1, fused=True)
    homeostat = Homeostat([Loop(Loss(), Hold(), LearningRate(), every=1)]).attach(model, optimizer)
    backward(model, x)
    # As torch.amp.GradScaler hands them to a fused optimizer.
    for loss, found in ((2.0, 0.0), (999.0, 1.0), (4.0, 0.0)):
        homeostat.observe(loss=loss)
        optimizer.grad_scale, optimizer.found_inf = torch.tensor(1.0), torch.tensor(found)
        optimizer.step()
        del optimizer.grad_scale, optimizer.found_inf
    assert homeostat.tick == 2
    assert homeostat.trace.loop("learning_rate")["reading.0"].tolist() == [2.0, 4.0]


def test_a_step_that_the_gradient_scaler_does_not_even_call_leaves_nothing_behind():
    def run(skip: bool) -> Homeostat:
        training = Training()
        homeostat = training.attach(every_loop(every=2))
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        for call in (0, 1, 2, 2, 3, 4, 5) if skip else range(6):
            training.steps = call
            loss = training.loss()
            training.optimizer.zero_grad()
            # The second time around is the step that counts.
            skipped = skip and call == 2 and homeostat.tick == 2 and scaler.get_scale() == 4.0
            if not skipped:
                homeostat.observe(loss=loss, validation_loss=3.0)
            (scaler.scale(loss) * (torch.inf if skipped else 1.0)).backward()
            scaler.step(training.optimizer)
            scaler.update()
        assert scaler.get_scale() == (2.0 if skip else 4.0)
        return homeostat

    skipped, clean = run(skip=True), run(skip=False)
    assert skipped.tick == clean.tick == 6
    # Powers of two: unscaling is exact, so that nothing but the skipped call could differ.
    assert skipped.state_dict() == clean.state_dict()


def test_the_gradient_scale_is_divided_out():
    model, x = problem()
    optimizer = AdamW(model.parameters(), lr=0.1, fused=True)
    homeostat = Homeostat([Loop(GradientNorm(), Hold(), LearningRate(), every=1)]).attach(model, optimizer)
    backward(model, x)
    norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item()
    for p in model.parameters():
        p.grad *= 64
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(64.0), torch.tensor(0.0)
    optimizer.step()
    assert homeostat.trace.loop("learning_rate")["reading.0"].tolist() == pytest.approx([norm], rel=1e-6)


@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1)], ids=["float", "tensor"])
def test_the_checkpointer_making_optimizer_state_is_no_tick(rate):
    model, x = problem()
    optimizer = Adam(model.parameters(), lr=rate, foreach=False)
    homeostat = Homeostat(every_gradient()).attach(model, optimizer)
    with warnings.catch_warnings():
        # torch's own, of its internals.
        warnings.simplefilter("ignore")
        get_optimizer_state_dict(model, optimizer)
    assert optimizer.state, "the checkpointer made a step"
    assert homeostat.tick == 0
    assert homeostat.trace.loops == []
    backward(model, x)
    optimizer.step()
    assert homeostat.tick == 1


def every_gradient() -> list[Loop]:
    return [Loop(GradientNorm(), Hold(), LearningRate(), every=1)]


def test_a_warm_up_from_a_rate_of_zero_ticks():
    model, x = problem()
    optimizer = AdamW(model.parameters(), lr=0.1)
    scheduler = LambdaLR(optimizer, lambda step: step / 10)
    homeostat = Homeostat(every_gradient()).attach(model, optimizer)
    for _ in range(3):
        optimizer.zero_grad()
        backward(model, x)
        optimizer.step()
        scheduler.step()
    assert homeostat.tick == 3


def test_micro_batches_are_averaged_and_are_no_ticks():
    model, x = problem()
    optimizer = SGD(model.parameters(), lr=0.1)
    homeostat = Homeostat([Loop(Loss(), Hold(), LearningRate(), every=2)]).attach(model, optimizer)
    for step in range(3):
        for micro in range(4):
            loss = backward(model, x) * 0 + 10 * step + micro
            homeostat.observe(loss=loss)
            # A copy was taken, so this changes no reading.
            loss /= 4
        optimizer.step()
    assert homeostat.tick == 3
    # Tick 0, then the mean of ticks 1 and 2.
    assert homeostat.trace.loop("learning_rate")["reading.0"].tolist() == [1.5, (11.5 + 21.5) / 2]


def one_cycle(optimizer: torch.optim.Optimizer) -> Any:
    return OneCycleLR(optimizer, max_lr=0.3, total_steps=12)


SCHEDULERS = {
    "one cycle": one_cycle,
    "cosine": lambda o: CosineAnnealingLR(o, T_max=7),
    "exponential": lambda o: ExponentialLR(o, gamma=0.9),
    "warm-up": lambda o: LambdaLR(o, lambda step: min(1.0, step / 5)),
    "sequence": lambda o: SequentialLR(o, [LinearLR(o, 0.1, total_iters=4), ExponentialLR(o, 0.9)], milestones=[4]),
    "plateau": lambda o: ReduceLROnPlateau(o, patience=1, threshold=10.0),
}


@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
@pytest.mark.parametrize("tensor", [False, True])
def test_the_schedule_the_user_sees_is_untouched(make, tensor):
    def rates(controlled: bool) -> tuple[list[float], list[Any]]:
        model, x = problem()
        optimizer = AdamW(model.parameters(), lr=torch.tensor(0.1) if tensor else 0.1, foreach=False)
        scheduler = make(optimizer)
        homeostat = Homeostat(TWICE).attach(model, optimizer) if controlled else None
        seen = []
        for i in range(12):
            optimizer.zero_grad()
            loss = backward(model, x)
            if homeostat is not None:
                homeostat.observe(loss=loss)
            optimizer.step()
            seen.append(float(optimizer.param_groups[0]["lr"]))
            if i < 11:
                scheduler.step(*([1.0] if isinstance(scheduler, ReduceLROnPlateau) else []))
        return seen, [p.detach().clone() for p in model.parameters()]

    alone, weights = rates(controlled=False)
    steered, moved = rates(controlled=True)
    assert steered == alone
    assert not torch.equal(weights[0], moved[0]), "the factor must have acted, or the test shows nothing"


def test_every_optimizer_is_steered_and_the_first_is_the_clock():
    torch.manual_seed(0)
    first, second = nn.Linear(4, 4), nn.Linear(4, 1)
    one, other = Fragile(first.parameters(), lr=0.1), Fragile(second.parameters(), lr=0.2)
    model = nn.Sequential(first, second)
    homeostat = Homeostat(TWICE).attach(model, one, other)
    for _ in range(3):
        loss = backward(model, torch.randn(8, 4))
        homeostat.observe(loss=loss)
        one.step()
        other.step()
        other.step()
        assert one.seen == pytest.approx(0.1 * 2.718281828)
        assert other.seen == pytest.approx(0.2 * 2.718281828)
        assert (one.param_groups[0]["lr"], other.param_groups[0]["lr"]) == (0.1, 0.2)
    assert homeostat.tick == 3


def test_a_group_added_later_is_steered_too():
    model, x = problem()
    late = nn.Parameter(torch.zeros(3))
    optimizer = Fragile(model.parameters(), lr=0.1)
    homeostat = Homeostat(TWICE).attach(model, optimizer)
    optimizer.add_param_group({"params": [late], "lr": 1.0})
    late.grad = torch.ones(3)
    homeostat.observe(loss=backward(model, x))
    optimizer.step()
    assert late.tolist() == pytest.approx([-2.718281828] * 3)


@pytest.mark.parametrize("latency", [1, 3])
def test_with_latency_decisions_come_later_and_are_reproducible(latency):
    def run() -> tuple[list[float], dict[str, Any]]:
        training = Training()
        homeostat = training.attach(every_loop(every=4), latency=latency)
        training.run(14)
        return training.losses, {n: homeostat.trace.loop(n)["tick"].tolist() for n in homeostat.trace.loops}

    losses, ticks = run()
    assert ticks["rotary_base"] == [t + latency for t in (0, 4, 8, 12) if t + latency < 14]
    assert run() == (losses, ticks)
    assert losses != Training().run(14).losses


@pytest.mark.parametrize("closure", [False, True])
def test_a_proposal_is_what_the_optimizer_wanted_and_an_update_what_the_limit_let_through(closure: bool) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    nn.init.constant_(model.weight, 1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    loops = [
        Loop(ProposedUpdateRatio(), Hold(), LearningRate(), every=1, name="proposed"),
        Loop(UpdateRatio(), Hold(), UpdateLimit(start=0.125), every=1, name="done"),
    ]
    homeostat = Homeostat(loops).attach(model, optimizer)

    def step() -> float:
        model.weight.grad = model.weight.detach().clone()
        model.bias.grad = torch.zeros(4)
        return 0.0

    step()
    for _ in range(4):
        if closure:
            optimizer.step(step)
        else:
            step()
            optimizer.step()
    trace = homeostat.trace
    assert trace.loop("proposed")["reading.0"] == pytest.approx([0.5] * 3)
    assert trace.loop("done")["reading.0"] == pytest.approx([0.125] * 3)
