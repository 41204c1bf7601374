import pytest
import torch
from torch import nn

from homeostat.observers import GradientNorm
from homeostat.plant import Plant


def plant_with_gradients():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    groups = [{"params": m.parameters()} for m in model]
    plant = Plant(model, (torch.optim.SGD(groups, lr=0.1),))
    model(torch.randn(5, 3)).square().sum().backward()
    return plant


def naive(parameters):
    return sum(p.grad.double().square().sum() for p in parameters) ** 0.5


@pytest.mark.parametrize("group", [None, 0, 1])
@pytest.mark.parametrize("scale", [None, 1024.0])
@pytest.mark.parametrize("log", [False, True])
def test_reads_the_unscaled_norm(group, scale, log):
    plant = plant_with_gradients()
    expected = naive(plant.parameters() if group is None else plant.model[group].parameters())
    if scale is not None:
        plant.scales = [torch.tensor(scale)]
        for p in plant.parameters():
            p.grad *= scale
    observer = GradientNorm(group=group, log=log)
    reading = observer.observe(plant, observer.init(plant))
    assert reading.item() == pytest.approx((expected.log() if log else expected).item(), rel=1e-5)


def test_no_gradient_is_no_reading_and_part_of_them_is_the_rest():
    plant, observer, second = plant_with_gradients(), GradientNorm(), GradientNorm(group=1)
    for p in plant.model[1].parameters():
        p.grad = None
    assert observer.observe(plant, None).item() == pytest.approx(naive(plant.model[0].parameters()).item())
    assert second.observe(plant, second.init(plant)) is None


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_non_finite_gradient_is_a_non_finite_reading(bad):
    plant = plant_with_gradients()
    plant.model[0].bias.grad[0] = bad
    assert not GradientNorm().observe(plant, None).isfinite()


def test_sparse_gradients_count():
    model = nn.Embedding(5, 3, sparse=True)
    plant = Plant(model, (torch.optim.SparseAdam(model.parameters()),))
    model(torch.tensor([1, 1, 4])).square().sum().backward()
    dense = model.weight.grad.to_dense().norm()
    assert GradientNorm().observe(plant, None).item() == pytest.approx(dense.item())
