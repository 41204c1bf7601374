"""What is easily got wrong in one's own loop is said once, in a sentence."""

from __future__ import annotations

import pytest
import torch
from torch import distributed as dist
from torch import nn
from torch.optim import SGD, Optimizer

from homeostat import AttachError, Homeostat, HomeostatWarning, Loop, RecipeError
from homeostat.actuators import ClipNorm, Dropout, LearningRate
from homeostat.guards import Guard
from homeostat.guards.detectors import NonFinite
from homeostat.laws import Hold
from homeostat.observers import GeneralizationGap, Loss, UpdateRatio
from homeostat.sinks import JsonLines
from homeostat.trace import Event

LOOP = Loop(Loss(), Hold(), LearningRate())


def train(homeostat: Homeostat, ticks: int = 1100, **metrics: float) -> list[Event]:
    model = nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.1))
    optimizer = SGD(model.parameters(), lr=0.0)
    # Nothing is learned here: a tick is all that is wanted.
    homeostat.attach(model, optimizer)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    for _ in range(ticks):
        if metrics:
            homeostat.observe(**metrics)
        optimizer.step()
    return [event for event in homeostat.trace.events if "must be reported" in event.text]


def test_a_forgotten_metric_is_missed_once():
    with pytest.warns(HomeostatWarning, match=r"got no 'loss' in 1000 ticks. Call observe\(loss=...\)"):
        assert len(train(Homeostat([LOOP]))) == 1


def test_a_metric_that_is_spelt_otherwise_is_named_even_where_it_may_be_missing():
    gap = Loop(GeneralizationGap(), Hold(), Dropout(), optional=True)
    with pytest.warns(HomeostatWarning, match="got no 'validation_loss' in 1000 ticks. Rename one of them: 'val_loss'"):
        assert len(train(Homeostat([LOOP, gap]), loss=1.0, val_loss=2.0)) == 1
    assert train(Homeostat([LOOP, gap]), loss=1.0) == []


def test_an_optimizer_of_another_model_is_told_of():
    optimizer = SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    with pytest.warns(HomeostatWarning, match="must hold parameters of the model; got SGD with none"):
        Homeostat([LOOP]).attach(nn.Linear(1, 1), optimizer)


@pytest.mark.parametrize(
    "options", [{"loops": LOOP}, {"loops": [], "sinks": JsonLines("trace.jsonl")}], ids=["loops", "sinks"]
)
def test_what_must_be_a_list_is_said_to_be(options):
    with pytest.raises(TypeError, match=r"must be a list; got a (Loop|JsonLines)\. Put it in brackets"):
        Homeostat(**options)


def test_a_recipe_that_does_not_exist_is_not_looked_for_in_public():
    with pytest.raises(
        RecipeError, match=r"must be one of echo, steady or .*; got 'stedy'\. Check the spelling"
    ) as caught:
        Homeostat.from_recipe("stedy")
    assert "/" not in str(caught.value)


class Rateless(Optimizer):
    def __init__(self, parameters):
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self, closure=None):
        del closure
        for parameter in self.param_groups[0]["params"]:
            parameter.sub_(0.1 * parameter.grad)


def test_a_rate_is_asked_of_an_optimizer_only_by_who_needs_it():
    model = nn.Linear(2, 2)
    optimizer = Rateless(model.parameters())
    with pytest.raises(
        AttachError, match=r"^Loop 'learning_rate': LearningRate must .*; got no 'lr' in group 0\. Name"
    ):
        Homeostat([LOOP]).attach(model, optimizer)
    watch = Loop(UpdateRatio(), Hold(), ClipNorm(), every=1)
    homeostat = Homeostat([watch], guards=[Guard(Loss(), NonFinite())]).attach(model, optimizer)
    for _ in range(3):
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    assert homeostat.trace.loop("clip_norm")["reading.0"].min() > 0


def test_a_rank_outside_of_the_group_is_told_so_when_it_attaches():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model = nn.Linear(1, 1)
        optimizer = SGD(model.parameters(), lr=0.1)
        homeostat = Homeostat([LOOP])
        with pytest.raises(AttachError, match=r"^A rank must be in the process group .*; got rank 0, which is not"):
            homeostat.attach(model, optimizer, process_group=dist.GroupMember.NON_GROUP_MEMBER)
        homeostat.attach(model, optimizer)
    finally:
        dist.destroy_process_group()
