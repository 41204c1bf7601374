from __future__ import annotations

import math

import torch
from torch import nn

from benchmarks.faults.fault import flip
from homeostat.observers import ParameterNorm
from homeostat.plant import Plant


def reading(model: nn.Module) -> float:
    plant = Plant(model, (torch.optim.SGD(model.parameters(), lr=0.1),))
    observer = ParameterNorm()
    return observer.observe(plant, observer.init(plant)).item()


def test_it_is_the_greatest_norm_of_a_parameter():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    assert math.isclose(reading(model), max(p.norm().item() for p in model.parameters()), rel_tol=1e-6)


def test_one_flipped_bit_shows_and_so_does_what_is_no_number():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    before = reading(model)
    flip(model[0].weight.data, 5)
    assert reading(model) > 1e30 * before
    with torch.no_grad():
        model[0].weight[0, 0] = math.nan
    assert not math.isfinite(reading(model))
