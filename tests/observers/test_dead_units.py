import pytest
import torch
from torch import nn

from homeostat.errors import AttachError
from homeostat.observers import DeadUnits
from homeostat.plant import Plant


def plant_of(*modules: nn.Module) -> Plant:
    model = nn.Sequential(nn.Linear(4, 4), *modules)
    return Plant(model, (torch.optim.SGD(model.parameters(), lr=0.1),))


def share(plant: Plant, *batches: torch.Tensor, **fields: str) -> float | None:
    observer = DeadUnits(**fields)
    memory = observer.init(plant)
    observer.prepare(plant, memory)
    for batch in batches:
        plant.model(batch)
    read = observer.observe(plant, memory)
    assert not any(module._forward_hooks for module in plant.model.modules())
    return None if read is None else read.item()


def kill(plant: Plant, *units: int) -> None:
    with torch.no_grad():
        plant.model[0].bias.fill_(9.0)
        plant.model[0].bias[list(units)] = -9.0


def test_a_unit_is_dead_that_is_zero_for_the_whole_batch():
    plant = plant_of(nn.ReLU())
    kill(plant, 1)
    assert share(plant, torch.randn(8, 4)) == 0.25
    assert share(plant, torch.randn(2, 5, 4)) == 0.25
    kill(plant, 0, 1, 2, 3)
    alive = torch.zeros(8, 4)
    alive[3] = 100 * plant.model[0].weight[2].detach()
    assert share(plant, alive) < 1.0


def test_of_images_the_channels_are_units():
    plant = plant_of(nn.Unflatten(1, (2, 1, 2)), nn.ReLU6())
    kill(plant, 0, 1)
    assert share(plant, torch.randn(8, 4)) == 0.5


def test_only_the_first_pass_in_training_counts():
    plant = plant_of(nn.ReLU())
    kill(plant)
    plant.model.eval()
    assert share(plant, torch.randn(8, 4)) is None
    plant.model.train()
    dead = torch.full((1, 4), torch.nan)
    assert share(plant, torch.randn(8, 4), dead) == 0.0
    assert share(plant) is None


def test_a_compiled_model_is_refused():
    plant = plant_of(nn.ReLU())
    plant.model.compile(backend="eager")
    with pytest.raises(AttachError, match="not compiled; got a compiled one"):
        DeadUnits().init(plant)
