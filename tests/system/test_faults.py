"""Readings that are no numbers, limits, foreign hands on the knobs, and parts that do not fit."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import nn
from torch.optim import SGD

from homeostat import AttachError, CoupledLoop, Homeostat, HomeostatError, HomeostatWarning, Loop
from homeostat import nn as hnn
from homeostat.actuators import AttentionWindow, ClipNorm, Dial, Dropout, LearningRate, RotaryBase
from homeostat.laws import PID, Hold, MatrixPI, Schedule
from homeostat.observers import AttentionReach, GradientNorm, Loss, UpdateRatio
from homeostat.profile import Profile
from homeostat.sinks import JsonLines
from tests.system.test_idle import inventory
from tests.test_trace import Memory
from tests.training import Training, every_loop

BASE = RotaryBase(low=10, high=1e6)


def integral(**fields: object) -> Loop:
    law = PID(gain=0.5, integral_time=5.0)
    return Loop(Loss(), law, BASE, **{"setpoint": 2.0, "every": 1, **fields})


def matrix(knobs: int, readings: int) -> MatrixPI:
    rows = ((0.1,) * readings,) * knobs
    return MatrixPI(gain=rows, integral=rows, tracking_time=5.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_reading_that_is_no_number_holds_and_the_law_does_not_see_it(bad):
    training = Training()
    homeostat = training.attach([integral()])
    training.run(3)
    before = homeostat.state_dict()["loops"]["rotary_base"]
    homeostat.observe(loss=bad)
    training.optimizer.step()
    after = homeostat.state_dict()["loops"]["rotary_base"]
    assert after["law_state"] == before["law_state"]
    assert after["delivered"] == before["delivered"]
    assert homeostat.trace.loop("rotary_base")["held"].tolist() == [0, 0, 0, 1]
    training.run(1)
    assert homeostat.trace.loop("rotary_base")["held"].tolist() == [0, 0, 0, 1, 0]


def test_a_gradient_that_is_no_number_holds_only_the_loop_that_reads_it():
    training = Training()
    homeostat = training.attach([integral(), Loop(GradientNorm(), Hold(), LearningRate(), every=1)])
    homeostat.observe(loss=training.loss())
    for p in training.model.parameters():
        p.grad = torch.full_like(p, math.nan)
    training.optimizer.step()
    assert homeostat.trace.loop("learning_rate")["held"].tolist() == [1]
    assert homeostat.trace.loop("rotary_base")["held"].tolist() == [0]


def test_a_hold_that_lasts_raises_one_alarm_and_falls_back_only_where_told():
    training = Training()
    loops = [integral(patience=3, safe=50.0), Loop(Loss(), Hold(), LearningRate(), every=1, patience=3)]
    homeostat = training.attach(loops)
    training.run(2)
    stood = homeostat.knobs["rotary_base"]
    for _ in range(2):
        homeostat.observe(loss=math.nan)
        training.optimizer.step()
    assert homeostat.knobs["rotary_base"] == stood
    homeostat.observe(loss=math.nan)
    with pytest.warns(HomeostatWarning, match="has been held for 3 decisions") as caught:
        training.optimizer.step()
    assert len(caught) == 2
    assert homeostat.knobs["rotary_base"] == pytest.approx((50.0,))
    assert homeostat.knobs["learning_rate"] == (1.0,)
    columns = homeostat.trace.loop("rotary_base")
    assert columns["safe"].tolist() == [0, 0, 0, 0, 1]
    assert columns["alarm"].tolist() == [0, 0, 0, 0, 1]
    homeostat.observe(loss=math.nan)
    training.optimizer.step()
    assert homeostat.trace.loop("rotary_base")["alarm"].tolist()[-1] == 0


def test_a_missing_reading_is_no_hold():
    training = Training()
    homeostat = training.attach([Loop(Loss(metric="validation_loss"), Hold(), BASE, every=1)])
    for i in range(6):
        training.step(**({"validation_loss": 1.0} if i == 4 else {}))
    columns = homeostat.trace.loop("rotary_base")
    assert (columns["tick"].tolist(), columns["held"].tolist()) == ([4], [0])


def test_standing_at_a_limit_raises_an_alarm_that_names_loop_and_limit():
    training = Training()
    rising = Schedule(profile=Profile(points=((0, 100.0),)))
    homeostat = training.attach([Loop(Loss(), rising, BASE, every=1, patience=4, name="base")])
    with pytest.warns(HomeostatWarning, match=r"'base' has stood at its high limit for 4 decisions \(RotaryBase"):
        training.run(6)
    assert homeostat.knobs["base"] == (1e6,)
    assert homeostat.trace.loop("base")["high"].tolist() == [1] * 6
    assert homeostat.trace.loop("base")["alarm"].tolist() == [0, 0, 0, 1, 0, 0]


def test_a_knob_that_something_else_moves_is_taken_over_without_a_bump():
    training = Training()
    homeostat = training.attach([Loop(Loss(), PID(gain=0.01, integral_time=1e6), BASE, setpoint=2.0, every=1)])
    training.run(4)
    training.model.rotary_base.set(5000.0)
    training.run(3)
    columns = homeostat.trace.loop("rotary_base")
    assert columns["external"].tolist() == [0, 0, 0, 0, 1, 0, 0]
    assert columns["delivered.0"][4:] == pytest.approx([5000.0] * 3, rel=0.05)


def test_a_quantised_knob_that_something_else_moves_off_its_steps_does_not_jump_back():
    training = Training()
    homeostat = training.attach([Loop(Loss(), Hold(), AttentionWindow(low=0, high=64, quantum=16), every=1)])
    training.run(2)
    training.model.attention_window.set(9)
    training.run(3)
    assert training.model.attention_window.value == 9
    assert homeostat.trace.loop("attention_window")["external"].tolist() == [0, 0, 1, 0, 0]


def test_equal_actuators_are_refused_at_construction():
    with pytest.raises(ValueError, match="must belong to one loop; got RotaryBase in 'rotary_base' and 'second'"):
        Homeostat([integral(), integral(name="second")])


NOT_FITTING = {
    "overlapping globs": (
        Loop(Loss(), Hold(), Dial(dials="rotary*", low=1, high=9)),
        "one actuator; got 'rotary_base'",
    ),
    "a glob without a dial": (Loop(Loss(), Hold(), Dial(dials="nothing.*", low=1, high=9)), "'nothing.*' must match"),
    "a glob without a tap": (Loop(AttentionReach(taps="no"), Hold(), LearningRate()), "'no' must match"),
    "a group that is not there": (Loop(Loss(), Hold(), LearningRate(groups=(3,))), "groups must lie in 0..0; got 3"),
    "one knob twice in a loop": (
        CoupledLoop(
            observers=(Loss(), GradientNorm()),
            law=matrix(2, 2),
            actuators=(Dial(dials="loss_w*", low=0, high=9), Dial(dials="*weight", low=0, high=9)),
            setpoints=(1.0, 1.0),
        ),
        "one actuator; got 'loss_weight'",
    ),
    "a second part that does not fit": (
        CoupledLoop(
            observers=(AttentionReach(), UpdateRatio(), AttentionReach(taps="no")),
            law=matrix(2, 3),
            actuators=(Dial(dials="loss_weight", low=0, high=9), Dropout(modules="dropout")),
            setpoints=(1.0, 1.0, 1.0),
        ),
        "'no' must match",
    ),
}


@pytest.mark.parametrize(("loop", "says"), NOT_FITTING.values(), ids=NOT_FITTING)
def test_a_loop_that_does_not_fit_is_refused_and_leaves_nothing(loop, says):
    training = Training()
    before = inventory(training)
    homeostat = Homeostat([integral(), Loop(AttentionReach(), Hold(), ClipNorm()), loop])
    with pytest.raises(AttachError, match=says):
        homeostat.attach(training.model, training.optimizer)
    assert inventory(training) == before
    with pytest.raises(HomeostatError, match="between attach and detach"):
        homeostat.observe(loss=1.0)
    training.run(2)


@pytest.mark.parametrize(("loop", "says"), NOT_FITTING.values(), ids=NOT_FITTING)
def test_an_optional_loop_that_does_not_fit_is_left_out_and_said_to_be(loop, says, tmp_path):
    training = Training()
    kept = Loop(AttentionReach(), Hold(), BASE, every=1)
    optional = loop.model_copy(update={"optional": True, "name": "extra"})
    homeostat = training.attach([kept, optional], sinks=[JsonLines(tmp_path / "trace.jsonl")])
    assert list(homeostat.knobs) == ["rotary_base"]
    assert re.match(f"Loop 'extra' is left out: .*{says}", homeostat.trace.events[1].text)
    training.run(2)
    assert len(homeostat.trace.loop("rotary_base")["tick"]) == 2
    assert not training.model.loss_weight.watching
    homeostat.detach()
    assert "is left out" in (tmp_path / "trace.jsonl").read_text()


def test_a_dial_that_nothing_reads_is_named():
    class Unread(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 1)
            self.used, self.unused = hnn.Dial(1.0), hnn.Dial(2.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x) * self.used()

    model = Unread()
    optimizer = SGD(model.parameters(), lr=0.1)
    loops = [Loop(Loss(), Hold(), Dial(dials=name, low=0.0, high=9.0), name=name) for name in ("used", "unused")]
    homeostat = Homeostat(loops).attach(model, optimizer)
    model(torch.ones(2, 3)).sum().backward()
    with pytest.warns(HomeostatWarning, match="got none that reads unused in the first step") as caught:
        optimizer.step()
    assert len(caught) == 1
    optimizer.step()
    assert "unused" in homeostat.trace.events[-1].text


def test_a_sink_that_cannot_open_leaves_nothing(tmp_path):
    (tmp_path / "trace.jsonl").write_text("not a trace\n")
    training = Training()
    before = inventory(training)
    homeostat = Homeostat(every_loop(), sinks=[JsonLines(tmp_path / "trace.jsonl")])
    with pytest.raises(HomeostatError, match="must be a trace"):
        homeostat.attach(training.model, training.optimizer)
    assert inventory(training) == before


def test_a_sink_that_cannot_open_closes_those_before_it():
    class Watched(Memory):
        closed = False

        def close(self):
            self.closed = True

    class Broken(Watched):
        def open(self, _):
            raise OSError("no space left")

    training, sinks = Training(), [Watched(), Broken(), Watched()]
    before = inventory(training)
    with pytest.raises(OSError, match="no space left"):
        Homeostat([integral()], sinks=sinks).attach(training.model, training.optimizer)
    assert [sink.closed for sink in sinks] == [True, False, False]
    assert inventory(training) == before
