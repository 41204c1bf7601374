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


def test_what_trips_the_limit_wakes_the_loop(loops):
    # The limit knows matrices one by one, the loop their median: it must wake where most of them would trip.
    band, setpoint = loops["learning_rate"].law.laws[0], loops["learning_rate"].setpoint
    limit = loops["update_limit"].actuator
    assert math.log(limit.trip / setpoint.at(0)) > band.above
    # And it must sleep where the limit needs not cut, once the first steps are over.
    assert setpoint.at(30) * math.exp(band.rest) < limit.start


@pytest.mark.parametrize("factor", [0.01, 100])
def test_a_rate_100_times_off_is_found_within_40_ticks_without_overshoot(loops, factor):
    law, every, setpoint = loops["learning_rate"].law, loops["learning_rate"].every, 0.025
    state, position, errors = law.init(), 0.0, []
    for i in range(8):
        # The ratio follows the knob one to one.
        reading = setpoint * factor * math.exp(position)
        errors.append(math.log(reading / setpoint))
        (position,), state, _ = law.update(state, Input((reading,), (setpoint,), (position,), (i == 0,), every))
    assert all(error * math.log(factor) > 0 for error in errors)
    assert abs(errors[-1]) <= law.laws[0].rest


@pytest.mark.parametrize("reading", [0.0055, 0.025, 0.08])
def test_a_good_rate_is_left_alone(loops, reading):
    law = loops["learning_rate"].law
    (command,), *_ = law.update(law.init(), Input((reading,), (0.025,), (0.3,), (False,), 5))
    assert command == 0.3


@pytest.mark.parametrize("rate", [1e-2, 5e-2])
def test_a_run_from_a_good_rate_is_bit_identical_to_one_without(rate):
    def losses(attached):
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
        homeostat = Homeostat.from_recipe("steady").attach(model, optimizer) if attached else None
        torch.manual_seed(1)
        for _ in range(100):
            x = torch.randn(16, 8)
            loss = F.mse_loss(model(x), x.roll(1, 1))
            if homeostat is not None:
                homeostat.observe(loss=loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.item()

    assert list(losses(True)) == list(losses(False))


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
    assert setpoints[0] > 0.079
    assert setpoints[-1] == pytest.approx(2e-4)


def test_without_a_horizon_the_setpoint_stays_after_the_first_steps():
    trace = train(network(), 81).trace.loop("learning_rate")
    assert set(trace["setpoint.0"][trace["tick"] >= 60]) == {0.02}
