"""The front of the library: attach, observe, detach, and what it refuses."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ExponentialLR

from homeostat import AttachError, CoupledLoop, Homeostat, HomeostatError, HomeostatWarning, Loop, Profile
from homeostat.actuators import Dropout, LearningRate, RotaryBase
from homeostat.laws import Hold, MatrixPI, Schedule
from homeostat.observers import Loss
from homeostat.steered import PATIENCE
from tests.test_trace import Memory
from tests.training import Training

WATCH = [Loop(Loss(), Hold(), LearningRate(), every=2)]


@pytest.mark.parametrize(
    "use",
    [
        lambda h: h.observe(loss=1.0),
        lambda h: h.tick,
        lambda h: h.knobs,
        lambda h: h.state_dict(),
        lambda h: h.load_state_dict({}),
        lambda h: h.detach(),
    ],
    ids=["observe", "tick", "knobs", "state_dict", "load_state_dict", "detach"],
)
def test_use_before_attach_says_what_to_do(use):
    homeostat = Homeostat(WATCH)
    with pytest.raises(HomeostatError, match=r"Call attach\(model, optimizer\) first"):
        use(homeostat)
    training = Training()
    homeostat.attach(training.model, training.optimizer)
    homeostat.detach()
    with pytest.raises(HomeostatError, match="must be used between attach and detach"):
        use(homeostat)


def test_a_second_attach_is_refused():
    training, other = Training(), Training()
    homeostat = training.attach(WATCH)
    with pytest.raises(AttachError, match="one run at a time"):
        homeostat.attach(other.model, other.optimizer)
    training.run(2)
    assert homeostat.tick == 2


def test_an_optimizer_is_steered_once():
    training = Training()
    homeostat = training.attach(WATCH)
    with pytest.raises(AttachError, match="must be steered once; got a AdamW"):
        Homeostat(WATCH).attach(training.model, training.optimizer)
    homeostat.detach()
    second = Homeostat(WATCH).attach(training.model, training.optimizer)
    second.detach()
    with pytest.raises(AttachError, match="must be steered once"):
        Homeostat(WATCH).attach(training.model, training.optimizer, training.optimizer)


def test_what_is_no_optimizer_is_refused():
    training = Training()
    with pytest.raises(AttachError, match="with step hooks; got ExponentialLR"):
        Homeostat(WATCH).attach(training.model, ExponentialLR(training.optimizer, 0.9))


def test_attach_returns_the_controller_and_tells_the_sinks():
    sink = Memory()
    opened: list[Any] = []
    sink.open = opened.append
    training = Training()
    homeostat = Homeostat(WATCH, name="mine", sinks=[sink])
    assert homeostat.attach(training.model, training.optimizer) is homeostat
    training.homeostat = homeostat
    training.run(3)
    homeostat.detach()
    (description,) = opened
    assert description["name"] == "mine"
    assert [loop["name"] for loop in description["loops"]] == ["learning_rate"]
    kinds = [type(entry).__name__ for entry in sink.entries]
    assert (kinds[0], kinds[-1]) == ("Event", "Event")
    assert kinds.count("Record") == 2


class Closable(Memory):
    """A sink that remembers being closed, and may refuse to be."""

    def __init__(self, error: OSError | None = None) -> None:
        super().__init__()
        self.error = error
        self.closed = False

    def close(self) -> None:
        self.closed = True
        if self.error:
            raise self.error


def test_a_detach_that_fails_somewhere_does_the_rest_and_says_the_first_error():
    sinks = [Closable(OSError("disk full")), Closable()]
    training = Training()
    rise = Schedule(profile=Profile(points=((0, math.log(500.0)),)))
    drop = Schedule(profile=Profile(points=((0, 0.5),)))
    homeostat = training.attach(
        [
            Loop(Loss(), rise, RotaryBase(low=10, high=1e6), every=1),
            Loop(Loss(), drop, Dropout(high=0.6), every=1),
        ],
        sinks=sinks,
    )
    found = training.model.dropout.rate.value
    training.run(2)
    assert training.model.dropout.rate.value != found
    del training.model.rotary_base
    with pytest.raises(AttributeError, match="no attribute `rotary_base`"):
        homeostat.detach()
    assert training.model.dropout.rate.value == found
    assert not training.optimizer._optimizer_step_pre_hooks
    assert [sink.closed for sink in sinks] == [True, True]
    assert [sink.entries[-1].text for sink in sinks] == ["detached", "detached"]
    with pytest.raises(HomeostatError, match="must be used between attach and detach"):
        homeostat.detach()
    Homeostat(WATCH).attach(training.model, training.optimizer).detach()


def test_loops_of_one_name_are_told_apart():
    training = Training()
    homeostat = training.attach(
        [Loop(Loss(), Hold(), LearningRate(), name="x"), Loop(Loss(), Hold(), RotaryBase(low=1, high=1e6), name="x")]
    )
    assert homeostat.knobs == {"x": (1.0,), "x'": (100.0,)}


def test_metrics_are_recorded_as_means_of_their_interval():
    training = Training()
    homeostat = training.attach(WATCH, report_every=2)
    for i in range(5):
        homeostat.observe(loss=float(i), other=1.0)
        training.loss().backward()
        training.optimizer.step()
    assert homeostat.trace.metric("loss")["tick"].tolist() == [0, 2, 4]
    assert homeostat.trace.metric("loss")["value"].tolist() == [0.0, 1.5, 3.5]
    assert homeostat.trace.metric("other")["value"].tolist() == [1.0, 1.0, 1.0]


def test_an_optimizer_that_never_steps_is_told_once():
    training = Training()
    homeostat = training.attach(WATCH)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3 * PATIENCE):
            homeostat.observe(loss=1.0)
    (warning,) = told
    assert str(warning.message).startswith(f"An optimizer that is attached must step; got {PATIENCE} calls of observe")
    assert [event.text for event in homeostat.trace.events] == ["attached", str(warning.message)]


def test_an_evaluation_of_any_length_after_a_step_is_no_fault():
    training = Training()
    homeostat = training.attach(WATCH)
    # The step observes once more.
    for _ in range(PATIENCE - 2):
        homeostat.observe(loss=1.0)
    training.step()
    for _ in range(2 * PATIENCE):
        homeostat.observe(validation_loss=1.0)
    assert len(homeostat.trace.events) == 1


def test_a_resumed_run_whose_optimizer_never_steps_is_told_too():
    training = Training()
    training.attach(WATCH)
    training.run(3)
    resumed = Training()
    homeostat = resumed.attach(WATCH)
    homeostat.load_state_dict(training.homeostat.state_dict())
    for _ in range(PATIENCE - 1):
        homeostat.observe(loss=1.0)
    with pytest.warns(HomeostatWarning, match="An optimizer that is attached must step"):
        homeostat.observe(loss=1.0)


def test_one_reading_may_serve_two_errors_of_a_coupled_loop():
    law = MatrixPI(gain=((0.1, 0.1),), integral=((0.0, 0.0),), tracking_time=10.0)
    loop = CoupledLoop(observers=(Loss(), Loss()), law=law, actuators=(LearningRate(),), setpoints=(1.0, 2.0), every=1)
    training = Training()
    homeostat = training.attach([loop])
    training.run(2)
    columns = homeostat.trace.loop("learning_rate")
    assert columns["reading.0"].tolist() == columns["reading.1"].tolist() == pytest.approx(training.losses)


def test_a_run_without_readings_decides_nothing():
    training = Training()
    homeostat = training.attach(WATCH)
    for _ in range(3):
        training.loss().backward()
        training.optimizer.step()
    assert (homeostat.tick, homeostat.trace.loops) == (3, [])


def test_a_model_without_its_own_loss_is_steered_as_well():
    model = nn.Linear(3, 1)
    optimizer = SGD(model.parameters(), lr=0.1)
    homeostat = Homeostat(WATCH).attach(model, optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (1.0, torch.tensor(2.0), torch.tensor([3.0])):
            homeostat.observe(loss=value)
            model(torch.ones(1, 3)).sum().backward()
            optimizer.step()
    assert homeostat.trace.loop("learning_rate")["reading.0"].tolist() == [1.0, 2.5]
