"""Guards under closures, scalers, accumulation and several optimizers; and moments that begin anew."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from schedulefree import AdamWScheduleFree, RAdamScheduleFree, SGDScheduleFree
from torch import nn
from torch.optim import LBFGS, SGD, Adagrad, AdamW

from homeostat import Homeostat
from homeostat.guards import Guard, SnapshotPolicy
from homeostat.guards.detectors import NonFinite
from homeostat.guards.moments import reset_moments
from homeostat.observers import Loss
from tests.guards.runs import OFTEN, Victim, broken_batch
from tests.harness import same

pytestmark = pytest.mark.filterwarnings("ignore::homeostat.HomeostatWarning")
GUARD = Guard(Loss(), NonFinite())


def test_with_a_closure_a_fault_is_found_after_the_step_and_goes_back():
    model = nn.Linear(3, 1)
    optimizer = LBFGS(model.parameters(), max_iter=2)
    homeostat = Homeostat([], guards=[GUARD], snapshots=SnapshotPolicy(every=1, probation=0))
    homeostat.attach(model, optimizer)
    x = torch.randn(8, 3)
    for step in range(6):

        def closure(bad: float = math.nan if step == 4 else 1.0) -> torch.Tensor:
            optimizer.zero_grad()
            loss = (model(x) - 1).square().mean() * bad
            homeostat.observe(loss=loss)
            loss.backward()
            return loss

        optimizer.step(closure)
    ((intervention),) = homeostat.trace.interventions
    assert (intervention.answer, intervention.exact, intervention.back_to) == ("rollback", False, 4)
    assert homeostat.tick == 5
    assert all(p.isfinite().all() for p in model.parameters())


def test_all_optimizers_that_follow_the_clock_are_skipped_with_it():
    model = nn.Linear(3, 2)
    clock, other = SGD([model.weight], lr=0.1), AdamW([model.bias], lr=0.1)
    homeostat = Homeostat([], guards=[GUARD]).attach(model, clock, other)
    for step in range(4):
        before = [p.detach().clone() for p in model.parameters()]
        loss = model(torch.ones(1, 3)).square().sum()
        homeostat.observe(loss=math.nan if step == 2 else loss)
        loss.backward()
        gradients = [p.grad for p in model.parameters()]
        clock.step()
        other.step()
        after = list(model.parameters())
        assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [step == 2] * 2
        # They are there again: what reads them after the step finds them.
        assert all(p.grad is g for p, g in zip(after, gradients, strict=True))
    assert homeostat.tick == 3


def test_one_bad_micro_batch_is_enough_and_the_scaler_does_not_mind():
    model = nn.Linear(3, 1)
    optimizer, scaler = SGD(model.parameters(), lr=0.1), torch.amp.GradScaler("cpu")
    homeostat = Homeostat([], guards=[GUARD]).attach(model, optimizer, restores=(scaler,))
    for step in range(3):
        before = model.weight.detach().clone()
        for part in range(2):
            loss = model(torch.ones(1, 3)).square().sum()
            homeostat.observe(loss=math.inf if (step, part) == (1, 0) else loss)
            scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        assert torch.equal(before, model.weight) == (step == 1)
    assert homeostat.tick == 2


def test_what_guards_know_is_saved_and_the_next_verdict_is_the_same():
    whole = Victim().attach(snapshots=None).run(broken_batch(20, 40))
    first = Victim().attach(snapshots=None)
    first.loader.steps = 30
    first.run(broken_batch(20))
    second = Victim().attach(snapshots=None)
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.schedule.load_state_dict(first.schedule.state_dict())
    second.loader.position = 30
    second.homeostat.load_state_dict(first.homeostat.state_dict())
    torch.set_rng_state(first.random)
    second.run(broken_batch(40))
    assert same(second.state(), whole.state())
    assert second.homeostat.state_dict()["guards"] == whole.homeostat.state_dict()["guards"]


@pytest.mark.parametrize("kind", [AdamW, Adagrad, SGD], ids=lambda kind: kind.__name__)
def test_moments_begin_anew(kind):
    def moved(*, anew: bool) -> torch.Tensor:
        weight = nn.Parameter(torch.ones(3))
        optimizer = kind([weight], lr=0.1, **({"momentum": 0.9} if kind is SGD else {}))
        if anew:
            for _ in range(3):
                weight.grad = torch.tensor([5.0, -1.0, 2.0])
                optimizer.step()
            reset_moments(optimizer)
            weight.data.fill_(1.0)
        weight.grad = torch.tensor([1.0, 2.0, -3.0])
        optimizer.step()
        return weight.detach()

    assert torch.equal(moved(anew=True), moved(anew=False))


def test_a_reset_is_answered_by_new_moments_and_no_step():
    struck = Victim().attach((Guard(Loss(), NonFinite(), "reset"),), snapshots=OFTEN)
    counted = []

    def strike(moment, run, batch):
        if moment == "gradient":
            counted.append(next(iter(run.optimizer.state.values()), {}).get("step", torch.tensor(0.0)).item())
        return broken_batch(20)(moment, run, batch)

    struck.run(strike)
    assert struck.told() == [(20, "reset", None)]
    assert counted[20:23] == [20, 0, 1]


@pytest.mark.parametrize(
    "make",
    [
        lambda ps: AdamWScheduleFree(ps, lr=0.1, warmup_steps=3),
        lambda ps: SGDScheduleFree(ps, lr=0.1, warmup_steps=3),
        lambda ps: RAdamScheduleFree(ps, lr=0.1),
    ],
    ids=["AdamW", "SGD", "RAdam"],
)
def test_schedule_free_does_not_count_a_step_that_is_skipped(make):
    def run(bad: tuple[int, ...]) -> tuple[list[torch.Tensor], list[dict[str, object]]]:
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = make(list(model.parameters()))
        optimizer.train()
        homeostat = Homeostat([], guards=[GUARD]).attach(model, optimizer)
        for step in range(12 + len(bad)):
            loss = model(torch.ones(1, 3)).square().sum() * (math.nan if step in bad else 1.0)
            homeostat.observe(loss=loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        return [p.detach().clone() for p in model.parameters()], copy.deepcopy(groups)

    (weights, groups), (others, alike) = run(()), run((3, 8))
    assert groups == alike
    assert same(weights, others)
