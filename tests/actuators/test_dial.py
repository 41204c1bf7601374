import copy

import pytest
import torch
from torch import nn

from homeostat.actuators import AttentionWindow, Dial, EmbeddingWidth, LossWeight, RotaryBase, RotationPenalty
from homeostat.errors import AttachError
from homeostat.nn import Dial as Knob
from homeostat.plant import Plant


class Block(nn.Module):
    def __init__(self, window=4.0, *, integer=True):
        super().__init__()
        self.attention_window = Knob(window, integer=integer)
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x * self.weight * self.attention_window()


def plant_of(*blocks):
    model = nn.Sequential(*blocks)
    return Plant(model, (torch.optim.SGD(model.parameters(), lr=0.1),))


def test_every_dial_under_the_glob_is_turned_and_rounded_to_its_type():
    plant, part = plant_of(Block(), Block()), AttentionWindow(low=0, high=100)
    memory = part.init(plant)
    assert part.write(plant, memory, 16.4) == 16.0
    assert [m.attention_window.peek() for m in plant.model] == [16.0, 16.0]
    assert plant.model(torch.ones(())).item() == 256.0
    assert part.targets(plant) == {"0.attention_window", "1.attention_window"}


@pytest.mark.parametrize("blocks", [(Block(4), Block(5)), (Block(4), Block(4.0, integer=False))])
def test_dials_that_disagree_are_refused(blocks):
    with pytest.raises(AttachError, match=r"must agree; got 0.attention_window=4, 1.attention_window=[45]\. "):
        AttentionWindow(low=0, high=100).init(plant_of(*blocks))


def test_a_dial_that_was_replaced_is_found_again():
    plant, part = plant_of(Block()), AttentionWindow(low=0, high=100)
    memory = part.init(plant)
    plant.model[0].attention_window = copy.deepcopy(plant.model[0].attention_window)
    plant.model.to(torch.bfloat16)
    part.write(plant, memory, 99.0)
    assert plant.model[0].attention_window().item() == 99
    plant.model[0].attention_window.set(7)
    assert part.read(plant, memory) == 7


@pytest.mark.parametrize("reader", [0, 1, None])
def test_dials_nothing_reads_are_named(reader):
    plant, part = plant_of(Block(), Block()), AttentionWindow(low=0, high=100)
    memory = part.init(plant)
    part.read(plant, memory)
    if reader is not None:
        plant.model[reader](torch.ones(()))
    expected = {f"{i}.attention_window" for i in (0, 1)} - {f"{reader}.attention_window"}
    assert set(part.unread(plant, memory)) == expected
    assert part.unread(plant, memory) == ()
    assert not any(m.attention_window.watching for m in plant.model)


def test_a_compiled_model_is_not_watched():
    plant, part = plant_of(Block()), AttentionWindow(low=0, high=100)
    plant.model.compile(backend="eager")
    memory = part.init(plant)
    assert not plant.model[0].attention_window.watching
    assert part.unread(plant, memory) == ()


@pytest.mark.parametrize(
    ("kind", "fields", "name"),
    [
        (AttentionWindow, {"low": -1, "high": 5}, "AttentionWindow"),
        (EmbeddingWidth, {"low": 0, "high": 5}, "EmbeddingWidth"),
        (LossWeight, {"dials": "*", "low": -1, "high": 5, "scale": "linear"}, "LossWeight"),
        (RotaryBase, {"low": 0.5, "high": 5}, "RotaryBase"),
        (RotationPenalty, {"low": -1, "high": 5, "scale": "linear"}, "RotationPenalty"),
    ],
)
def test_values_without_a_meaning_are_refused(kind, fields, name):
    with pytest.raises(ValueError, match=rf"{name}.low must be at least \d; got "):
        kind(**fields)


def test_any_dial_may_take_any_value():
    plant, part = plant_of(Block(0.5, integer=False)), Dial(dials="*", low=-5, high=5)
    assert part.write(plant, part.init(plant), -2.5) == -2.5


def test_limits_are_narrowed_to_what_the_dial_can_use():
    model = torch.nn.Module()
    model.width = Knob(64.0, low=1.0, high=128.0)
    plant = Plant(model, (torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))]),))
    fitted = Dial(dials="width", low=0.5, high=4096.0).fitted(plant)
    assert (fitted.low, fitted.high) == (1.0, 128.0)
    with pytest.raises(AttachError, match=r"leave \[200, 128\]"):
        Dial(dials="width", low=200.0, high=4096.0).fitted(plant)


def test_a_dial_outside_its_own_range_is_refused():
    with pytest.raises(ValueError, match="must start within"):
        Knob(3.0, low=4.0)
