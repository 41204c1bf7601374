import pytest
import torch
from torch import nn
from torch.nn import functional as F

from homeostat.errors import AttachError
from homeostat.observers import UpdateRatio
from homeostat.plant import Plant


def trained(steps=20, width=128):
    """A network in the middle of training under Adam: updates and weights as they are, not as a Gaussian has them."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(16, width), nn.ReLU(), *(nn.Linear(width, width) for _ in range(6)), nn.Linear(width, 4)
    )
    plant = Plant(model, (torch.optim.AdamW(model.parameters(), lr=3e-3),))
    for _ in range(steps):
        step(plant)
    return plant


def step(plant):
    x = torch.randn(64, 16)
    plant.optimizers[0].zero_grad()
    F.mse_loss(plant.model(x), x[:, :4].sin()).backward()
    plant.optimizers[0].step()


def measure(plant, observer):
    memory = observer.init(plant)
    observer.prepare(plant, memory)
    before = [p.detach().clone() for p in plant.parameters()]
    step(plant)
    return observer.observe(plant, memory).item(), before


def exact(plant, before, floor=1e-3):
    moved = [(p.detach() - b, b) for p, b in zip(plant.parameters(), before, strict=True) if p.ndim >= 2]
    return torch.stack(
        [d.double().square().mean().sqrt() / b.double().square().mean().sqrt().clamp(floor) for d, b in moved]
    )


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_with_every_element_it_is_exact(statistic):
    plant = trained()
    reading, before = measure(plant, UpdateRatio(statistic=statistic, elements=128 * 128, schedule=False))
    ratios = exact(plant, before)
    expected = ratios.mean() if statistic == "mean" else ratios.quantile(0.5)
    assert reading == pytest.approx(expected.item(), rel=1e-5)


def test_the_error_of_256_random_elements_is_what_the_docstring_says():
    plant = trained()
    many = [UpdateRatio(seed=s, schedule=False) for s in range(60)]
    single = [UpdateRatio(seed=s, schedule=False, tensors=1) for s in range(60)]
    memories = [o.init(plant) for o in many + single]
    for o, memory in zip(many + single, memories, strict=True):
        o.prepare(plant, memory)
    before = [p.detach().clone() for p in plant.parameters()]
    step(plant)
    readings = torch.stack([o.observe(plant, m) for o, m in zip(many + single, memories, strict=True)]).double()
    matrices = [i for i, p in enumerate(plant.parameters()) if p.ndim >= 2]
    ratios = dict(zip(matrices, exact(plant, before), strict=True))
    median = torch.stack(list(ratios.values())).quantile(0.5)
    truth = torch.stack([median] * 60 + [ratios[m.positions[0]] for m in memories[60:]])
    errors = (readings / truth - 1).abs()
    of_median, of_tensor = errors[:60].quantile(0.95).item(), errors[60:].quantile(0.95).item()
    assert of_tensor < 0.10
    assert of_median < 0.06


def test_vectors_are_left_out_unless_asked_for():
    plant = trained(2)
    assert all(plant.parameters()[i].ndim == 2 for i in UpdateRatio().init(plant).positions)
    assert len(UpdateRatio(vectors=True).init(plant).positions) == len(plant.parameters())


def test_at_most_so_many_tensors_are_sampled_and_not_the_leading_ones():
    model = nn.ParameterList(nn.Parameter(torch.ones(2, 2)) for _ in range(200))
    plant = Plant(model, (torch.optim.SGD(model.parameters(), lr=0.1),))
    positions = UpdateRatio().init(plant).positions
    assert len(set(positions)) == 64
    assert max(positions) > 150
    assert positions != UpdateRatio(seed=1).init(plant).positions


def test_tensors_without_a_gradient_do_not_pull_the_reading_down():
    plant, observer = trained(2), UpdateRatio(elements=128 * 128, statistic="mean", schedule=False)
    unused = nn.Parameter(torch.randn(128, 128))
    plant.optimizers[0].add_param_group({"params": [unused]})
    memory = observer.init(plant)
    for p in plant.parameters()[:-1]:
        p.grad = torch.randn_like(p)
    before = [p.detach().clone() for p in plant.parameters()]
    observer.prepare(plant, memory)
    plant.optimizers[0].step()
    expected = exact(plant, before)[:-1].mean().item()
    assert observer.observe(plant, memory).item() == pytest.approx(expected, rel=1e-5)


def test_a_weight_at_zero_counts_with_the_floor():
    model = nn.Linear(4, 4, bias=False)
    nn.init.zeros_(model.weight)
    plant = Plant(model, (torch.optim.SGD(model.parameters(), lr=0.5),))
    observer = UpdateRatio(floor=0.1)
    memory = observer.init(plant)
    observer.prepare(plant, memory)
    model.weight.grad = torch.ones(4, 4)
    plant.optimizers[0].step()
    assert observer.observe(plant, memory).item() == pytest.approx(5.0)


def test_a_non_finite_weight_is_a_non_finite_reading_even_of_the_median():
    plant, observer = trained(2), UpdateRatio(elements=128 * 128)
    memory = observer.init(plant)
    observer.prepare(plant, memory)
    with torch.no_grad():
        plant.model[0].weight[0, 0] = torch.inf
    assert not observer.observe(plant, memory).isfinite()


def test_without_preparation_there_is_no_reading():
    plant, observer = trained(2), UpdateRatio()
    assert observer.observe(plant, observer.init(plant)) is None


@pytest.mark.parametrize("clock_is_last", [True, False])
def test_of_several_optimizers_only_the_clocks_tensors_are_read(clock_is_last):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4, bias=False), *(nn.Linear(4, 4, bias=False) for _ in range(3)))
    clock = torch.optim.SGD(model[0].parameters(), lr=0.1)
    other = torch.optim.SGD(model[1:].parameters(), lr=0.1)
    plant, observer = Plant(model, (clock, other)), UpdateRatio()
    memory = observer.init(plant)
    model(torch.ones(2, 4)).square().mean().backward()
    if clock_is_last:
        other.step()
    before = model[0].weight.detach().clone()
    observer.prepare(plant, memory)
    clock.step()
    moved = (model[0].weight.detach() - before).norm() / before.norm()
    assert observer.observe(plant, memory).item() == pytest.approx(moved.item(), rel=1e-5)


def test_nothing_to_sample_is_refused():
    model = nn.BatchNorm1d(3)
    with pytest.raises(AttachError, match="must find trainable matrices"):
        UpdateRatio().init(Plant(model, (torch.optim.SGD(model.parameters(), lr=0.1),)))


def test_the_schedule_is_divided_out_unless_it_is_asked_for():
    readings = []
    for schedule in (False, True):
        plant = trained(2)
        group = plant.optimizers[0].param_groups[0]
        group["initial_lr"], group["lr"] = group["lr"], group["lr"] / 4
        readings.append(measure(plant, UpdateRatio(schedule=schedule))[0])
    assert readings[1] == pytest.approx(4 * readings[0], rel=1e-5)


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_the_reading_is_freed_of_the_schedule(share):
    readings = []
    for lr, schedule in ((1.0, True), (share, True), (share, False)):
        plant = trained(2)
        group = plant.optimizers[0].param_groups[0]
        group["initial_lr"], group["lr"] = group["lr"], group["lr"] * lr
        readings.append(measure(plant, UpdateRatio(schedule=schedule))[0])
    assert readings[1] == pytest.approx(readings[0], rel=1e-4)
    assert readings[2] == pytest.approx(share * readings[0], rel=1e-4)
