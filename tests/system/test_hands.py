"""Who moves the knobs: the law, an operator, or nobody where the controller only advises."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from homeostat import CoupledLoop, HomeostatError, Loop, StateError
from homeostat import nn as homeostat_nn
from homeostat.actuators import AttentionWindow, Dial, LearningRate, RotaryBase
from homeostat.laws import PID, MatrixPI, Schedule
from homeostat.observers import GradientNorm, Loss
from homeostat.profile import Profile
from tests.guards.runs import Victim, once, spoil_weight
from tests.harness import same
from tests.system.test_idle import inventory
from tests.training import Training, every_loop

BASE = RotaryBase(low=10, high=1e6)


def steered(**fields: object) -> Loop:
    law = PID(gain=0.5, integral_time=5.0)
    return Loop(**{"observer": Loss(), "law": law, "actuator": BASE, "setpoint": 2.0, "every": 1, **fields})


def test_advice_is_decided_and_recorded_and_nothing_is_written():
    alone, advised = Training().run(12), Training()
    homeostat = advised.attach(every_loop(), advise=True)
    knobs = homeostat.knobs
    advised.run(12)
    assert advised.losses == alone.losses
    assert same(advised.state(), alone.state())
    assert homeostat.knobs == knobs
    for name in homeostat.trace.loops:
        columns = homeostat.trace.loop(name)
        assert columns["advised"].tolist() == [1.0] * len(columns["tick"])
        assert set(columns["delivered.0"]) == {knobs[name][0]}
    moves = [name for name in knobs if (homeostat.trace.loop(name)["admitted.0"] != knobs[name][0]).any()]
    assert len(moves) >= 9, "the laws must have wanted to move, or the test shows nothing"
    homeostat.detach()
    assert inventory(advised) == inventory(alone)


def test_advice_starts_from_where_the_knob_is_each_time():
    training = Training()
    rising = Schedule(profile=Profile(points=((0, math.log(200.0)),)))
    slow = BASE.model_copy(update={"slew": 0.1})
    homeostat = training.attach([Loop(Loss(), rising, slow, every=1)], advise=True)
    training.run(2)
    training.model.rotary_base.set(150.0)
    training.run(1)
    admitted = homeostat.trace.loop("rotary_base")["admitted.0"].tolist()
    assert admitted == pytest.approx([100 * math.exp(0.1), 100 * math.exp(0.1), 150 * math.exp(0.1)])


def test_advice_that_goes_on_from_a_state_of_one_that_acted_writes_nothing():
    acting, alone, advised = Training(), Training(), Training()
    state = acting.attach(every_loop()).state_dict
    acting.run(12)
    homeostat = advised.attach(every_loop(), advise=True)
    knobs = homeostat.knobs
    homeostat.load_state_dict(json.loads(json.dumps(state())))
    assert homeostat.tick == 12
    assert homeostat.knobs == knobs
    advised.run(6)
    assert same(advised.state(), alone.run(6).state())
    assert inventory(advised) != inventory(alone)
    homeostat.detach()
    assert inventory(advised) == inventory(alone)


def test_an_overridden_knob_stays_and_the_loop_goes_on_measuring():
    training = Training()
    homeostat = training.attach([steered()])
    training.run(3)
    homeostat.override("rotary_base", 5000.0)
    assert training.model.rotary_base.value == 5000.0
    training.run(4)
    assert homeostat.knobs == {"rotary_base": (5000.0,)}
    columns = homeostat.trace.loop("rotary_base")
    assert columns["override"].tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert columns["external"].tolist() == [0] * 7
    assert not math.isnan(columns["reading.0"][-1])
    assert [event.text for event in homeostat.trace.events[1:]] == ["loop 'rotary_base' overridden by hand: (5000.0,)"]


@pytest.mark.parametrize("every", [1, 3])
def test_it_is_handed_back_without_a_bump(every):
    training = Training()
    # The integral moves a thousandth of the error a tick; the proportional part would be a jump of its own.
    law = PID(gain=1.0, integral_time=1000.0)
    homeostat = training.attach([steered(law=law, every=every)])
    training.run(6)
    homeostat.override("rotary_base", 5000.0)
    training.run(9)
    homeostat.hand_back("rotary_base")
    training.run(2 * every)
    columns = homeostat.trace.loop("rotary_base")
    first = columns["override"].tolist().index(1.0)
    after = first + int(columns["override"].sum())
    moved = math.log(columns["delivered.0"][after] / 5000.0)
    # The change of the reading since the decision before, and one step of the integral.
    change = columns["reading.0"][after - 1] - columns["reading.0"][after]
    assert moved == pytest.approx(change, abs=0.01)
    assert columns["external"][after] == 0
    assert homeostat.trace.events[-1].text == "loop 'rotary_base' handed back"


@pytest.mark.parametrize("values", [(5.0,), (2e6,), (math.nan,), (100.0, 100.0), ()])
def test_an_override_outside_the_limits_is_refused_and_changes_nothing(values):
    training = Training()
    homeostat = training.attach([steered()])
    with pytest.raises(HomeostatError, match=r"must lie in \[10, 1e\+06\]; got"):
        homeostat.override("rotary_base", *values)
    assert training.model.rotary_base.value == 100.0
    training.run(2)
    assert homeostat.trace.loop("rotary_base")["override"].tolist() == [0, 0]


def test_an_override_of_a_loop_that_is_not_there_and_of_one_that_only_advises_is_refused():
    homeostat = Training().attach([steered()])
    with pytest.raises(HomeostatError, match="one of rotary_base; got 'base'"):
        homeostat.override("base", 100.0)
    with pytest.raises(HomeostatError, match="one of rotary_base; got 'base'"):
        homeostat.hand_back("base")
    advising = Training().attach([steered()], advise=True)
    with pytest.raises(HomeostatError, match="must be moved by a controller that acts"):
        advising.override("rotary_base", 100.0)


def test_all_knobs_of_a_coupled_loop_and_one_within_the_step_are_overridden():
    rows = ((0.1, 0.0), (0.0, 0.1))
    loop = CoupledLoop(
        observers=(Loss(), GradientNorm()),
        law=MatrixPI(gain=rows, integral=rows, tracking_time=5.0),
        actuators=(LearningRate(low=0.1, high=10), Dial(dials="loss_weight", low=0, high=9)),
        setpoints=(1.0, 1.0),
        every=1,
        name="both",
    )
    training, seen = Training(), []
    homeostat = training.attach([loop])
    training.optimizer.register_step_post_hook(lambda o, *_: seen.append(o.param_groups[0]["lr"]))
    homeostat.override("both", 4.0, 2.0)
    training.run(2)
    assert homeostat.knobs == {"both": (4.0, 2.0)}
    assert training.model.loss_weight.value == 2.0


def test_a_quantised_knob_may_be_overridden_between_its_steps():
    training = Training()
    window = AttentionWindow(low=0, high=64, quantum=16)
    homeostat = training.attach([steered(law=PID(gain=-0.1, integral_time=50.0), actuator=window)])
    homeostat.override("attention_window", 9.0)
    training.run(2)
    homeostat.hand_back("attention_window")
    training.run(2)
    assert training.model.attention_window.value == 9


def test_an_override_outlives_a_checkpoint():
    first, second = Training(), Training()
    homeostat = first.attach([steered()])
    first.run(2)
    homeostat.override("rotary_base", 5000.0)
    first.run(2)
    resumed = second.attach([steered()])
    resumed.load_state_dict(json.loads(json.dumps(homeostat.state_dict())))
    assert second.model.rotary_base.value == 5000.0
    second.run(2)
    assert resumed.trace.loop("rotary_base")["override"].tolist() == [1, 1]
    resumed.hand_back("rotary_base")
    second.run(2)
    assert resumed.trace.loop("rotary_base")["override"].tolist() == [1, 1, 0, 0]
    resumed.detach()
    assert second.model.rotary_base.value == 100.0


def test_the_state_rides_in_the_optimizers_own(tmp_path):
    first, second, third = Training(), Training(), Training()
    homeostat = first.attach(every_loop(), in_optimizer=True)
    first.run(7)
    torch.save(first.optimizer.state_dict(), tmp_path / "optimizer.pt")
    saved = torch.load(tmp_path / "optimizer.pt", weights_only=True)
    resumed = second.attach(every_loop(), in_optimizer=True)
    second.optimizer.load_state_dict(saved)
    assert resumed.state_dict() == homeostat.state_dict()
    # Neither needs the other: a plain run loads it, and a plain checkpoint is loaded.
    third.optimizer.load_state_dict(saved)
    second.optimizer.load_state_dict(third.optimizer.state_dict())
    assert resumed.state_dict() == homeostat.state_dict()
    homeostat.detach()
    assert "homeostat" not in first.optimizer.state_dict()


def test_a_riding_state_that_does_not_fit_is_refused_with_a_way_round_it():
    first, second = Training(), Training()
    first.attach(every_loop(), in_optimizer=True)
    saved = first.run(7).optimizer.state_dict()
    resumed = second.attach([steered()], in_optimizer=True)
    before = second.optimizer.state_dict()
    with pytest.raises(StateError, match="take 'homeostat' out of that before loading it"):
        second.optimizer.load_state_dict(saved)
    assert second.optimizer.state_dict() == before
    riding = saved.pop("homeostat")
    second.optimizer.load_state_dict(saved)
    resumed.load_state_dict(riding, precedence="recipe")
    assert resumed.tick == 7


def test_a_riding_state_is_left_alone_where_the_optimizer_refuses_its_own():
    first, second = Training(), Training()
    first.attach(every_loop(), in_optimizer=True)
    saved = first.run(7).optimizer.state_dict()
    resumed = second.attach(every_loop(), in_optimizer=True)
    before = second.run(3).homeostat.state_dict()
    del saved["param_groups"][0]["params"][0]
    with pytest.raises(ValueError, match="parameter group"):
        second.optimizer.load_state_dict(saved)
    assert resumed.state_dict() == before


def test_a_failed_attach_leaves_no_state_riding():
    training = Training()
    with pytest.raises(HomeostatError):
        training.attach([steered(actuator=Dial(dials="no", low=0, high=1))], in_optimizer=True)
    assert "homeostat" not in training.optimizer.state_dict()


def struck(replay: bool, before: str, after: str) -> Victim:
    """A run that goes back to tick 30 at tick 37; at 20 and at 33 an operator takes the knob, or gives it back."""
    victim = Victim()
    victim.model.append(Gain())
    loop = steered(actuator=Dial(dials="*gain", low=0.1, high=9.0), name="gain")
    victim.attach(loops=[loop], replay=replay)
    act = {"take": lambda run: run.homeostat.override("gain", 3.0), "give": lambda run: run.homeostat.hand_back("gain")}
    strikes = [once(20, act.get(before, id)), once(33, act.get(after, id)), once(37, spoil_weight)]
    return victim.run(lambda *seen: [strike(*seen) for strike in strikes][-1])


class Gain(nn.Module):
    """Scales by a dial."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = homeostat_nn.Dial(1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gain()


@pytest.mark.filterwarnings("ignore::homeostat.HomeostatWarning")
@pytest.mark.parametrize("replay", [True, False])
@pytest.mark.parametrize("before", ["take", "nothing"])
def test_a_knob_that_an_operator_holds_stays_where_it_is_when_the_run_goes_back(replay, before):
    victim = struck(replay, before, "take")
    assert victim.told()[-1][1:] == ("rollback", 30)
    assert victim.model[-1].gain.value == 3.0
    assert victim.homeostat.knobs["gain"] == (3.0,)
    assert victim.homeostat.trace.loop("gain")["override"][-1] == 1


@pytest.mark.filterwarnings("ignore::homeostat.HomeostatWarning")
@pytest.mark.parametrize("replay", [True, False])
def test_a_knob_that_was_handed_back_is_the_laws_own_when_the_run_goes_back(replay):
    victim = struck(replay, "take", "give")
    assert victim.told()[-1][1:] == ("rollback", 30)
    columns = victim.homeostat.trace.loop("gain")
    assert columns["override"][-1] == 0
    # From 3.0, where it was held, by a step of the law and not by a jump.
    at = columns["tick"].tolist().index(30 if replay else 37)
    assert columns["delivered.0"][at] == pytest.approx(3.0, abs=1.0)
    assert len(set(columns["delivered.0"][at:])) > 1


def test_to_hand_back_what_nobody_holds_is_no_event():
    homeostat = Training().attach([steered()])
    homeostat.override("rotary_base", 500.0)
    for _ in range(2):
        homeostat.hand_back("rotary_base")
    assert [event.text for event in homeostat.trace.events][2:] == ["loop 'rotary_base' handed back"]


@pytest.mark.parametrize(("slew", "after"), [(math.inf, 200.0), (0.1, 50 * math.exp(0.1))])
def test_a_law_without_a_memory_of_its_knob_goes_to_its_command_as_far_as_slew_lets_it(slew, after):
    training = Training()
    law = Schedule(profile=Profile(points=((0, math.log(200.0)),)))
    homeostat = training.attach([steered(law=law, actuator=BASE.model_copy(update={"slew": slew}))])
    homeostat.override("rotary_base", 50.0)
    training.run(3)
    homeostat.hand_back("rotary_base")
    training.run(1)
    assert homeostat.knobs["rotary_base"] == (pytest.approx(after),)
