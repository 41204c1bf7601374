"""Each fault of the suite once, in small: a guarded run ends as its unperturbed twin does.

Ten of them are the end of a bare loop. The others do it no harm in this small net, which is trained on after them:
there the test says only that the controller does none either.
"""

from __future__ import annotations

from functools import cache, partial, partialmethod

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.faults.case import SEEDS, Case
from benchmarks.faults.fault import FAULTS, KILLED
from benchmarks.faults.run import run
from benchmarks.faults.table import counts, judge
from benchmarks.faults.training import Loader, Training
from benchmarks.faults.trainings import TRAININGS
from homeostat import Homeostat
from homeostat import nn as hnn

STEPS = 80
HARMLESS = {"bit of a gradient", "zero gradients", "state lost", "rotary base x1000", "rotation scaled"}


class Turn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(12))


class Net(nn.Module):
    """Two layers, and before and between them everything that a fault of the suite strikes, by Echo's names."""

    def __init__(self) -> None:
        super().__init__()
        self.dials = nn.ModuleDict({"rotary_base": hnn.Dial(1e4), "attention_window": hnn.Dial(12.0)})
        self.rotation = Turn()
        self.layers = nn.Sequential(
            nn.Linear(12, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.05), nn.Linear(32, 4)
        )

    def forward(self, x):
        turned = x @ self.rotation.matrix * torch.cos(1e4 / self.dials["rotary_base"]())
        seen = (self.dials["attention_window"]() - torch.arange(12)).clamp(0, 1)
        return self.layers(turned * seen)


class Small(Training):
    """Four classes, clouds of points around the corners of a simplex."""

    def __init__(self, seed, steps=STEPS):
        torch.manual_seed(seed)
        self.steps = steps
        self.model = Net()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.scheduler = torch.optim.lr_scheduler.LinearLR(self.optimizer, 1.0, 0.1, steps)
        self.loader = Loader(self.draw, seed, steps)

    @staticmethod
    def draw(generator, size=64):
        labels = torch.randint(4, (size,), generator=generator)
        return F.one_hot(labels, 4).repeat(1, 3) + 0.6 * torch.randn(size, 12, generator=generator), labels

    def loss(self, batch):
        return F.cross_entropy(self.model(batch[0]), batch[1])

    @torch.no_grad()
    def held_out(self):
        self.model.eval()
        loss = self.loss(self.draw(torch.Generator().manual_seed(99), 500)).item()
        self.model.train()
        return loss

    def with_inputs(self, batch, change):
        return change(batch[0]), batch[1]

    def with_shuffled_labels(self, batch, generator):
        return batch[0], batch[1][torch.randperm(len(batch[1]), generator=generator)]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(TRAININGS, "small", Small)


@cache
def twins():
    return [run(Case("small", seed), "ours") for seed in SEEDS]


def case(fault):
    # The moment that seed 3 strikes would do no harm.
    return Case("small", 0, fault, 30, 5 if fault == "bit of a moment" else 3)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != KILLED])
def test_a_guarded_run_ends_as_its_twin_does(fault):
    twin = twins()
    assert not any(result.interventions for result in twin)
    struck = run(case(fault), "ours")
    assert counts(judge([*twin, struck])) == (1, 1), (struck, twin[0].loss)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in HARMLESS | {KILLED}])
def test_the_same_fault_is_the_end_of_a_bare_loop(fault):
    # Judged beside the clean runs above, which end as a bare loop's do.
    bare = run(case(fault), "bare loop")._replace(method="ours")
    assert counts(judge([*twins(), bare])) == (0, 1)


@cache
def late_twins():
    return [run(Case("small", seed), "ours") for seed in SEEDS]


@pytest.mark.parametrize(("fault", "back_to"), [("NaN batch", [50, 25]), ("learning rate x1000", [])])
def test_with_latency_a_run_goes_back_where_it_is_too_late_to_skip_and_ends_as_its_twin_does(
    fault, back_to, monkeypatch
):
    # With time to make up for the steps that are lost where the batch is met again, and for no others.
    monkeypatch.setitem(TRAININGS, "small", partial(Small, steps=200))
    monkeypatch.setattr(Homeostat, "attach", partialmethod(Homeostat.attach, latency=1))
    twin = late_twins()
    assert not any(result.interventions for result in twin)
    struck = run(Case("small", 0, fault, 60, 3), "ours")
    assert [told.partition("the run goes back to tick ")[2] for told in struck.interventions] == [
        f"{tick}." for tick in back_to
    ]
    assert counts(judge([*twin, struck])) == (1, 1), (struck, twin[0].loss)
