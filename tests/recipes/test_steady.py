import math
from importlib import resources

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from homeostat import Homeostat
from homeostat.laws import Input
from homeostat.recipes import load


@pytest.fixture
def loops():
    return {loop.name: loop for loop in load("steady").loops}


def train(model, steps, horizon=None, rate=1e-3):
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    homeostat = Homeostat.from_recipe("steady", horizon=horizon).attach(model, optimizer)
    for _ in range(steps):
        x = torch.randn(16, 8)
        loss = F.mse_loss(model(x), x.roll(1, 1))
        homeostat.observe(loss=loss, validation_loss=loss + 1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return homeostat


def network(*extra):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), *extra, nn.Linear(16, 8))


def test_every_number_has_a_reason_near_it():
    text = resources.files("homeostat.recipes").joinpath("steady.yaml").read_text(encoding="utf-8")
    loops = text.split("  - kind: Loop")[1:]
    assert len(loops) == 4
    for loop in loops:
        lines = loop.splitlines()
        numbered = [i for i, line in enumerate(lines) if "#" not in line and any(c.isdigit() for c in line)]
        comments = [i for i, line in enumerate(lines) if line.strip().startswith("#")]
        assert all(any(0 < i - c <= 6 for c in comments) or i < 3 for i in numbered)


def test_the_limit_leaves_room_for_the_loop_to_see_a_rate_that_is_too_high(loops):
    setpoint = loops["learning_rate"].setpoint.at(0)
    assert loops["update_limit"].actuator.start >= 1.5 * setpoint


def test_the_gains_close_half_the_error_at_a_decision_without_overshoot(loops):
    law, every = loops["learning_rate"].law, loops["learning_rate"].every
    position, errors = 0.0, []
    state = law.init()
    for _ in range(12):
        # A plant whose logarithm follows the knob one to one, 100 times too low at the start.
        reading = 0.03 / 100 * math.exp(position)
        errors.append(math.log(0.03 / reading))
        decision = law.update(state, Input((reading,), (0.03,), (position,), (not errors[1:],), every))
        (position,), state = decision.command, decision.state
    assert errors == sorted(errors, reverse=True)
    assert 0 < errors[-1] <= law.dead_band * 1.05
    assert sum(error > math.log(2) for error in errors) * every <= 40


def test_every_loop_moves_a_model_with_dropout():
    homeostat = train(network(nn.Dropout(0.1)), 60, rate=1e-5)
    knobs = {name: values[0] for name, values in homeostat.knobs.items()}
    assert set(knobs) == {"learning_rate", "update_limit", "clip_norm", "dropout"}
    assert knobs["learning_rate"] > 5
    assert knobs["update_limit"] == pytest.approx(0.06)
    assert 0 < knobs["clip_norm"] < 100
    assert 0.1 < knobs["dropout"] <= 0.5


def test_without_dropout_that_loop_is_left_out():
    assert set(train(network(), 10).knobs) == {"learning_rate", "update_limit", "clip_norm"}


def test_with_a_horizon_the_setpoint_falls_to_a_hundredth():
    setpoints = train(network(), 101, horizon=100).trace.loop("learning_rate")["setpoint.0"]
    assert setpoints[0] > 0.0295
    assert setpoints[-1] == pytest.approx(3e-4)


def test_without_a_horizon_the_setpoint_stays():
    assert set(train(network(), 30).trace.loop("learning_rate")["setpoint.0"]) == {0.03}
