"""Idle means absent, and detached means gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from homeostat.nn import dials
from tests.harness import same
from tests.training import Training, every_loop, holding_loops

OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "sgd": lambda m: SGD(m.parameters(), lr=0.1),
    "sgd with momentum, one by one": lambda m: SGD(m.parameters(), lr=0.1, momentum=0.9, foreach=False),
    "sgd fused": lambda m: SGD(m.parameters(), lr=0.1, momentum=0.9, nesterov=True, fused=True),
    "adam": lambda m: Adam(m.parameters(), lr=1e-2, weight_decay=0.1),
    "adamw foreach": lambda m: AdamW(m.parameters(), lr=1e-2, foreach=True),
    "adamw fused": lambda m: AdamW(m.parameters(), lr=1e-2, fused=True),
    "adamw with a tensor rate": lambda m: AdamW(m.parameters(), lr=torch.tensor(1e-2), foreach=False),
    "two groups": lambda m: AdamW(
        [{"params": list(m.parameters())[:3]}, {"params": list(m.parameters())[3:], "lr": 0.1}]
    ),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_loops_that_hold_leave_loss_and_weights_bit_identical(make):
    alone = Training(make).run(12)
    watched = Training(make)
    homeostat = watched.attach(holding_loops())
    watched.run(12)
    assert watched.losses == alone.losses
    assert same(watched.state(), alone.state())
    decided = {name: len(homeostat.trace.loop(name)["tick"]) for name in homeostat.trace.loops}
    assert len(decided) == 11, "every loop must have decided, or the test shows nothing"
    homeostat.detach()
    assert same(watched.state(), alone.state())


def test_loops_that_move_do_change_the_run():
    alone, moved = Training().run(12), Training()
    moved.attach(every_loop())
    assert moved.run(12).losses != alone.losses


def inventory(training: Training) -> dict[str, Any]:
    """Everything but weights and moments that a controller could leave behind."""
    found: dict[str, Any] = {}
    for name, module in training.model.named_modules():
        for key, value in vars(module).items():
            if key == "_seen":
                # A dial knows until the next forward pass what the last one saw.
                continue
            if isinstance(value, dict) and "hooks" in key:
                found[f"{name}.{key}"] = len(value)
            elif isinstance(value, (int, float, str, bool, type(None))):
                found[f"{name}.{key}"] = value
            else:
                found[f"{name}.{key}"] = type(value)
    for name, parameter in training.model.named_parameters():
        found[f"{name} hooks"] = (parameter._backward_hooks, parameter._post_accumulate_grad_hooks)
        found[f"{name} attributes"] = dict(vars(parameter))
    for key, value in vars(training.optimizer).items():
        found[f"optimizer.{key}"] = len(value) if isinstance(value, dict) else type(value)
    for i, group in enumerate(training.optimizer.param_groups):
        found |= {f"group {i} {key}": value for key, value in group.items() if key != "params"}
    return found | {f"dial {name}": dial.value for name, dial in dials(training.model).items()}


@pytest.mark.parametrize("make", [OPTIMIZERS["adamw foreach"], OPTIMIZERS["sgd with momentum, one by one"]])
def test_after_detach_nothing_is_left(make):
    alone, moved = Training(make).run(10), Training(make)
    before = inventory(moved)
    homeostat = moved.attach(every_loop())
    assert inventory(moved) != before
    moved.run(10)
    assert any(knobs != r.found for r, knobs in zip(homeostat._engine.runners, homeostat.knobs.values(), strict=True))
    homeostat.detach()
    assert inventory(moved) == inventory(alone)


def test_detach_before_the_first_step_leaves_nothing():
    training = Training()
    before = inventory(training)
    training.attach(every_loop()).detach()
    assert inventory(training) == before


def test_a_knob_that_something_else_moved_is_put_back_too():
    training = Training()
    homeostat = training.attach(holding_loops())
    training.run(4)
    training.model.rotary_base.set(777.0)
    homeostat.detach()
    assert training.model.rotary_base.value == 100.0


def test_detach_may_keep_the_knobs():
    training = Training()
    homeostat = training.attach(every_loop())
    training.run(10)
    kept = homeostat.knobs
    homeostat.detach(keep=True)
    assert training.model.rotary_base.value == kept["rotary_base"][0] != 100.0
    assert training.model.dropout.rate.value == kept["dropout"][0] != pytest.approx(0.1)
    assert training.optimizer.param_groups[0]["lr"] == 1e-2


def test_it_can_be_attached_again_after_detach():
    training = Training()
    homeostat = training.attach(every_loop())
    training.run(4)
    homeostat.detach()
    homeostat.attach(training.model, training.optimizer)
    training.run(4)
    assert homeostat.tick == 4
    homeostat.detach()
