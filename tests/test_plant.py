"""The training run as parts see it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

from homeostat.errors import AttachError
from homeostat.plant import Plant
from tests.harness import Net


def plant(**options: float) -> Plant:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    return Plant(model, (SGD(model[0].parameters(), lr=0.1, **options), AdamW(model[1].parameters())))


def test_parameters_and_groups_are_those_of_every_optimizer_in_order():
    p = plant()
    assert [tuple(t.shape) for t in p.parameters()] == [(3, 2), (3,), (1, 3), (1,)]
    assert len(list(p.groups)) == 2
    p.optimizers[0].add_param_group({"params": [nn.Parameter(torch.zeros(7))]})
    assert [tuple(t.shape) for t in p.parameters()] == [(3, 2), (3,), (7,), (1, 3), (1,)]


def test_gradients_leave_out_parameters_without_one():
    p = plant()
    assert p.gradients() == []
    p.parameters()[1].grad = torch.ones(3)
    assert [g.tolist() for g in p.gradients()] == [[1.0, 1.0, 1.0]]


def test_names_match_by_glob():
    p = plant()
    assert list(p.named_parameters("*.weight")) == ["0.weight", "1.weight"]
    assert list(p.modules("1", nn.Linear)) == ["1"]
    net = Net()
    assert list(Plant(net, (SGD(net.parameters()),)).modules("*", nn.Embedding)) == ["embedding"]


def test_a_glob_without_a_match_says_what_there_is():
    with pytest.raises(AttachError, match=r"'x\*' must match a parameter of Sequential; got no match.*0.weight"):
        plant().named_parameters("x*")
    with pytest.raises(AttachError, match=r"must match a LSTM of Sequential; got no match\. It offers: none at all"):
        plant().modules("*", nn.LSTM)


def test_a_cached_value_is_made_once_a_tick():
    p, made = plant(), []
    for _ in range(3):
        assert p.cached("x", lambda: made.append(1) or 5) == 5
    assert len(made) == 1
    p.forget()
    p.cached("x", lambda: made.append(1) or 5)
    assert len(made) == 2
    # Nothing found is found once, too.
    for _ in range(2):
        assert p.cached("none", lambda: made.append(1)) is None
    assert len(made) == 3


def test_the_schedule_is_relative_to_its_own_reference():
    p = plant()
    assert p.schedule() == 1.0
    p.optimizers[0].param_groups[0]["lr"] = 0.05
    assert p.schedule() == 0.5
    q = plant()
    scheduler = LambdaLR(q.optimizers[0], lambda step: step / 4)
    assert q.schedule() == 0.0
    q.optimizers[0].step()
    scheduler.step()
    assert q.schedule() == 0.25
    r = plant(momentum=0.9)
    OneCycleLR(r.optimizers[0], max_lr=2.0, total_steps=10)
    assert r.schedule() == pytest.approx(1 / 25)
