import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR, ReduceLROnPlateau, StepLR

from homeostat.actuators import LearningRate
from homeostat.errors import AttachError
from homeostat.plant import Plant

SCHEDULERS = {
    "step": lambda o: StepLR(o, 2, 0.5),
    "cosine": lambda o: CosineAnnealingLR(o, 6),
    "onecycle": lambda o: OneCycleLR(o, 0.1, total_steps=6, cycle_momentum=False),
    "lambda": lambda o: LambdaLR(o, lambda t: 1 / (t + 1)),
    "plateau": lambda o: ReduceLROnPlateau(o, patience=0),
}


def run_of(make=lambda ps: SGD(ps, lr=0.1)):
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    return Plant(model, (make(model.parameters()),))


def step(plant, part=None, memory=None, gradient=1.0):
    for p in plant.parameters():
        p.grad = torch.full_like(p, gradient)
    if part is not None:
        part.before_step(plant, memory)
    plant.optimizers[0].step()
    if part is not None:
        part.after_step(plant, memory)


@pytest.mark.parametrize("scheduler", SCHEDULERS.values(), ids=SCHEDULERS)
@pytest.mark.parametrize("factor", [0.1, 1.0, 7.0])
def test_the_step_uses_the_scaled_rate_and_the_schedule_sees_its_own(scheduler, factor):
    plant, alone, part = run_of(), run_of(), LearningRate()
    memory = part.init(plant)
    schedules = [scheduler(run.optimizers[0]) for run in (plant, alone)]
    part.write(plant, memory, factor)
    for _ in range(5):
        rate = alone.optimizers[0].param_groups[0]["lr"]
        before = plant.model.weight.detach().clone()
        step(plant, part, memory)
        step(alone)
        torch.testing.assert_close(before - plant.model.weight, torch.full((3, 4), rate * factor))
        for schedule in schedules:
            schedule.step(1.0) if isinstance(schedule, ReduceLROnPlateau) else schedule.step()
        assert plant.optimizers[0].param_groups[0]["lr"] == alone.optimizers[0].param_groups[0]["lr"]
        assert schedules[0].state_dict() == schedules[1].state_dict()


def test_a_rate_tensor_shared_by_all_groups_is_scaled_once_and_never_in_place():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    rate = torch.tensor(0.1)
    optimizer = AdamW([{"params": m.parameters(), "lr": rate} for m in model], lr=rate)
    plant, part = Plant(model, (optimizer,)), LearningRate()
    memory = part.init(plant)
    part.write(plant, memory, 3.0)
    part.before_step(plant, memory)
    first, second = (group["lr"] for group in optimizer.param_groups)
    assert first is second
    assert first.item() == pytest.approx(0.3)
    assert rate.item() == pytest.approx(0.1)
    part.after_step(plant, memory)
    assert all(group["lr"] is rate for group in optimizer.param_groups)


def test_a_step_that_raised_is_undone_before_the_next():
    plant, part = run_of(), LearningRate()
    memory = part.init(plant)
    part.write(plant, memory, 10.0)
    for _ in range(3):
        part.before_step(plant, memory)
        assert plant.optimizers[0].param_groups[0]["lr"] == 0.1 * 10.0
    part.after_step(plant, memory)
    assert plant.optimizers[0].param_groups[0]["lr"] == 0.1


def test_a_rate_the_step_itself_sets_is_kept():
    plant, part = run_of(), LearningRate()
    memory = part.init(plant)
    part.write(plant, memory, 10.0)
    part.before_step(plant, memory)
    plant.optimizers[0].param_groups[0]["lr"] = 0.5
    part.after_step(plant, memory)
    assert plant.optimizers[0].param_groups[0]["lr"] == 0.5


def test_only_the_selected_groups_move():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    plant = Plant(model, (SGD([{"params": m.parameters()} for m in model], lr=0.1),))
    part = LearningRate(groups=(1,))
    memory = part.init(plant)
    part.write(plant, memory, 2.0)
    part.before_step(plant, memory)
    assert [g["lr"] for g in plant.groups] == [0.1, 0.2]
    assert part.targets(plant) == {"group 1: lr"}


@pytest.mark.parametrize(
    "make",
    [
        lambda ps: AdamW(ps, 0.1, weight_decay=0.5),
        lambda ps: Adam(ps, 0.1, weight_decay=0.5, decoupled_weight_decay=True),
    ],
)
@pytest.mark.parametrize(("decay", "shrinks_by"), [("coupled", 0.2), ("fixed", 0.05)])
def test_decoupled_decay_follows_the_rate_or_stays_with_the_schedule(make, decay, shrinks_by):
    plant, part = run_of(make), LearningRate(decay=decay)
    memory = part.init(plant)
    part.write(plant, memory, 4.0)
    before = plant.model.weight.detach().clone()
    step(plant, part, memory, gradient=0.0)
    torch.testing.assert_close(plant.model.weight.detach(), before * (1 - shrinks_by))
    assert plant.optimizers[0].param_groups[0]["weight_decay"] == 0.5


def test_coupled_decay_is_part_of_the_gradient_and_left_alone():
    plant, part = run_of(lambda ps: SGD(ps, 0.1, weight_decay=0.5)), LearningRate(decay="fixed")
    memory = part.init(plant)
    part.write(plant, memory, 4.0)
    part.before_step(plant, memory)
    assert plant.optimizers[0].param_groups[0]["weight_decay"] == 0.5


def test_an_optimizer_that_estimates_its_rate_is_refused():
    plant = run_of()
    plant.optimizers[0].param_groups[0].update(d=1e-6, d0=1e-6)
    with pytest.raises(AttachError, match="must not scale an optimizer that estimates its own rate"):
        LearningRate().init(plant)
