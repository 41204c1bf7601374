import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from homeostat import nn as hnn
from homeostat.actuators import Dropout
from homeostat.errors import AttachError
from homeostat.plant import Plant


def plant_of(*modules):
    model = nn.Sequential(nn.Linear(4, 4), *modules)
    return Plant(model, (torch.optim.SGD(model.parameters(), lr=0.1),))


def rates(plant):
    return [m.rate.peek() if isinstance(m, hnn.Dropout) else m.p for m in list(plant.model)[1:]]


@given(st.floats(0.0, 0.5))
def test_modules_keep_their_share_of_the_greatest_rate(rate):
    plant, part = plant_of(nn.Dropout(0.4), hnn.Dropout(0.2), nn.Dropout2d(0.0)), Dropout()
    memory = part.init(plant)
    assert part.read(plant, memory) == 0.4
    assert part.write(plant, memory, rate) == rate == part.read(plant, memory)
    assert rates(plant) == pytest.approx([rate, rate / 2, 0.0], rel=1e-6, abs=1e-12)
    part.write(plant, memory, 0.4)
    assert rates(plant) == pytest.approx([0.4, 0.2, 0.0], rel=1e-7)
    assert plant.model[1].p == 0.4


def test_where_all_were_off_all_move_together():
    plant, part = plant_of(nn.Dropout(0.0), hnn.Dropout(0.0), nn.AlphaDropout(0.0)), Dropout()
    part.write(plant, part.init(plant), 0.25)
    assert rates(plant) == [0.25, 0.25, 0.25]


def test_the_rate_written_is_the_rate_of_the_forward_pass():
    torch.manual_seed(0)
    plant, part = plant_of(hnn.Dropout(0.0)), Dropout()
    part.write(plant, part.init(plant), 0.3)
    assert (plant.model[1](torch.ones(20000)) == 0).double().mean().item() == pytest.approx(0.3, abs=0.015)


def test_only_dials_can_be_told_to_be_unread():
    plant, part = plant_of(nn.Dropout(0.1), hnn.Dropout(0.1)), Dropout()
    memory = part.init(plant)
    assert part.unread(plant, memory) == ("2.rate",)
    assert part.targets(plant) == {"1.p", "2.rate"}


@pytest.mark.parametrize("fields", [{"high": 1.0}, {"low": -0.1}])
def test_rates_outside_of_their_range_are_refused(fields):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\); got "):
        Dropout(**fields)


def test_what_would_match_is_said_where_nothing_does():
    model = nn.ModuleDict({"drop": nn.Dropout(0.1), "body": nn.Linear(2, 1), "more": hnn.Dropout(0.1)})
    plant = Plant(model, (torch.optim.SGD(model.parameters(), lr=0.1),))
    with pytest.raises(AttachError, match=r"dropout module of ModuleDict; got no match. It offers: drop, more\."):
        Dropout(modules="body*").init(plant)
