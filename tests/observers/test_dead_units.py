import copy
import io
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch.optim import SGD

from homeostat import Homeostat, HomeostatWarning, Loop
from homeostat.actuators import LearningRate
from homeostat.errors import AttachError
from homeostat.laws import Hold
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
    memory.close()
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


class Rectified(nn.Module):
    """No `nn.Sequential`, which the compiler treats otherwise."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.relu, self.last = nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.relu(self.first(x)))
        return out


def attached(model: nn.Module, every: int = 1) -> Homeostat:
    watch = Loop(DeadUnits(), Hold(), LearningRate(), every=every, name="dead")
    return Homeostat([watch]).attach(model, SGD(model.parameters(), lr=0.5))


def readings(model: nn.Module, run: nn.Module, homeostat: Homeostat, ticks: int = 12) -> list[float]:
    (optimizer,) = homeostat._engine.plant.optimizers
    for tick in range(ticks):
        for micro in range(2):
            run(torch.randn(3, 4, generator=torch.Generator().manual_seed(2 * tick + micro))).sum().backward()
        optimizer.step()
        model.zero_grad()
    trace = homeostat.trace
    return trace.loop("dead")["reading.0"].tolist() if trace.loops else []


@pytest.fixture
def compiler():
    torch._dynamo.reset()
    yield CompileCounter()
    torch._dynamo.reset()


@pytest.mark.parametrize("in_place", [False, True], ids=["torch.compile", "model.compile"])
def test_a_model_that_is_compiled_after_attach_is_heard_and_compiled_twice(compiler, in_place):
    model = Rectified()
    alone = readings(model, model, attached(model, every=3))
    assert len(alone) == 4
    assert len(set(alone)) > 1
    model = Rectified()
    homeostat = attached(model, every=3)
    run = model
    if in_place:
        model.compile(backend=compiler, fullgraph=True)
    else:
        run = torch.compile(model, backend=compiler, fullgraph=True)
    assert readings(model, run, homeostat) == alone
    assert compiler.frame_count == 2


def test_deafness_is_told_once_with_what_helps(compiler):
    model = Rectified()
    run = torch.compile(model, backend=compiler)
    run(torch.randn(3, 4))
    homeostat = attached(model)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", HomeostatWarning)
        assert readings(model, run, homeostat, ticks=30) == []
    (alarm,) = (str(warning.message) for warning in told)
    assert "got no call of relu in 10 readings" in alarm
    assert [event.text for event in homeostat.trace.events][1:] == [alarm]
    assert "torch.compiler.reset()" in alarm
    torch.compiler.reset()
    assert len(readings(model, run, homeostat)) == 12


def test_a_listening_model_is_copied_and_saved_and_what_a_copy_does_is_not_heard():
    model = Rectified()
    first = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    dead = (model.relu(model.first(first)) == 0).all(0).float().mean().item()
    homeostat = attached(model)
    saved = io.BytesIO()
    torch.save(model, saved)
    saved.seek(0)
    for copied in (copy.deepcopy(model), torch.load(saved, weights_only=False)):
        copied(100 * torch.randn(64, 4))
    assert readings(model, model, homeostat)[0] == dead
