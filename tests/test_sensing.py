"""From observers to readings."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from homeostat.errors import AttachError
from homeostat.observers import AttentionReach, GradientNorm, Loss, Observer
from homeostat.observers.observer import Phase
from homeostat.plant import Plant
from homeostat.sensing import Senses
from tests.harness import Net


@pytest.fixture
def plant() -> Plant:
    model = nn.Linear(2, 1)
    return Plant(model, (SGD(model.parameters(), lr=0.1),))


def tick(plant: Plant, senses: Senses, **metrics: float) -> dict[int, float]:
    for name, value in metrics.items():
        plant.metrics.observe(name, value)
    plant.metrics.commit()
    readings = senses.exchange()
    senses.before_step()
    senses.after_update()
    senses.after_step()
    plant.tick += 1
    senses.arm()
    plant.forget()
    return readings


def test_equal_observers_of_equal_cadence_share_a_sensor(plant):
    senses = Senses(plant, None, 0)
    assert senses.add((Loss(), GradientNorm()), 2) == (0, 1)
    assert senses.add((Loss(),), 2) == (0,)
    assert senses.add((Loss(),), 3) == (2,)
    assert senses.add((Loss(smoothing=2.0),), 2) == (3,)


def test_readings_come_at_their_cadence_and_average_the_interval(plant):
    senses = Senses(plant, None, 0)
    senses.add((Loss(),), 3)
    senses.add((Loss(),), 1)
    seen = [tick(plant, senses, loss=float(i)) for i in range(7)]
    assert seen == [{0: 0.0, 1: 0.0}, {1: 1.0}, {1: 2.0}, {0: 2.0, 1: 3.0}, {1: 4.0}, {1: 5.0}, {0: 5.0, 1: 6.0}]


@pytest.mark.parametrize("latency", [1, 3])
def test_readings_arrive_a_fixed_number_of_ticks_later(plant, latency):
    senses = Senses(plant, None, latency)
    senses.add((Loss(),), 2)
    seen = [tick(plant, senses, loss=float(i)) for i in range(8)]
    arrived = {i: r[0] for i, r in enumerate(seen) if r}
    means = {0: 0.0, 2: 1.5, 4: 3.5, 6: 5.5}
    assert arrived == {t + latency: m for t, m in means.items() if t + latency < 8}


def test_nothing_measured_is_no_reading_and_a_bad_number_is_one(plant):
    senses = Senses(plant, None, 0)
    senses.add((Loss(), GradientNorm()), 1)
    assert tick(plant, senses) == {}
    (reading,) = tick(plant, senses, loss=math.nan).values()
    assert math.isnan(reading)
    plant.model.weight.grad = torch.tensor([[3.0, 4.0]])
    assert tick(plant, senses, loss=1.0) == {0: 1.0, 1: 5.0}


class Phased(Observer):
    """Writes down when it is called."""

    calls: ClassVar[list[tuple[str, int]]] = []

    def prepare(self, plant: Plant, memory: Any) -> None:
        del memory
        self.calls.append(("prepare", plant.tick))

    def observe(self, plant: Plant, memory: Any) -> Tensor | None:
        del memory
        self.calls.append(("observe", plant.tick))
        return torch.tensor(float(plant.tick))


class PhasedUpdate(Phased):
    phase: ClassVar[Phase] = "updates"


class PhasedProposal(Phased):
    phase: ClassVar[Phase] = "proposals"


class PhasedActivation(Phased):
    phase: ClassVar[Phase] = "activations"


@pytest.mark.parametrize(
    ("observer", "calls", "readings"),
    [
        # Prepared before the step of tick 1, measured after it, read at tick 2.
        (PhasedUpdate(), [("prepare", 1), ("observe", 1), ("prepare", 3), ("observe", 3)], {2: 1.0, 4: 3.0}),
        (PhasedProposal(), [("prepare", 1), ("observe", 1), ("prepare", 3), ("observe", 3)], {2: 1.0, 4: 3.0}),
        # Prepared before the forward pass of the tick at which it is read.
        (
            PhasedActivation(),
            [("prepare", 0), ("observe", 0), ("prepare", 2), ("observe", 2), ("prepare", 4), ("observe", 4)],
            {0: 0.0, 2: 2.0, 4: 4.0},
        ),
        (Phased(), [("observe", 0), ("observe", 2), ("observe", 4)], {0: 0.0, 2: 2.0, 4: 4.0}),
    ],
    ids=["updates", "proposals", "activations", "metrics"],
)
def test_an_observer_is_called_in_its_phase(plant, observer, calls, readings):
    Phased.calls.clear()
    senses = Senses(plant, None, 0)
    senses.add((observer,), 2)
    senses.arm()
    seen = [tick(plant, senses) for _ in range(5)]
    assert Phased.calls == calls
    assert {i: r[0] for i, r in enumerate(seen) if r} == readings


def test_an_observer_that_does_not_fit_leaves_no_sensor():
    net = Net()
    senses = Senses(Plant(net, (SGD(net.parameters(), lr=0.1),)), None, 0)
    with pytest.raises(AttachError):
        senses.add((AttentionReach(), AttentionReach(taps="no")), 1)
    assert senses.add((Loss(),), 1) == (0,)


def test_numbers_under_way_survive_a_checkpoint(plant):
    first = Senses(plant, None, 3)
    first.add((Loss(),), 1)
    for i in range(4):
        tick(plant, first, loss=0.1 * i)
    second = Senses(plant, None, 3)
    second.add((Loss(),), 1)
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()
    assert len(first.state_dict()["flights"]) == 3
    assert second.exchange() == {0: 0.1}
