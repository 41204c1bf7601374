"""A run that is cut anywhere and resumed elsewhere goes on bit-identically."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.optim import AdamW

from homeostat import Homeostat, Loop, StateError
from homeostat.actuators import LearningRate, RotaryBase
from homeostat.guards import Guard
from homeostat.guards.detectors import Spike
from homeostat.laws import PID, Hold, Schedule
from homeostat.observers import Loss
from homeostat.profile import Profile
from homeostat.trace import Event
from tests.harness import same
from tests.training import Training, every_loop

STEPS = 21


def records(homeostat: Homeostat) -> dict[str, Any]:
    return {
        name: {column: values.tolist() for column, values in homeostat.trace.loop(name).items()}
        for name in homeostat.trace.loops
    }


def after(rows: dict[str, Any], tick: int) -> dict[str, Any]:
    """Keep the rows from `tick` on; NaN becomes a word, which equals itself."""
    kept = {}
    for name, columns in rows.items():
        keep = [i for i, t in enumerate(columns["tick"]) if t >= tick]
        kept[name] = {
            column: [("NaN" if math.isnan(values[i]) else values[i]) for i in keep]
            for column, values in columns.items()
            if any(not math.isnan(values[i]) for i in keep)
        }
    return {name: columns for name, columns in kept.items() if columns}


_whole: dict[int, tuple[Training, Homeostat]] = {}


def uncut(latency: int) -> tuple[Training, Homeostat]:
    """The run that nothing interrupts, made once."""
    if latency not in _whole:
        training = Training()
        homeostat = training.attach(every_loop(every=4), latency=latency, report_every=3)
        _whole[latency] = (training.run(STEPS), homeostat)
    return _whole[latency]


@settings(max_examples=12)
@given(cut=st.integers(0, STEPS - 1), observed=st.booleans(), latency=st.sampled_from([0, 1, 3]))
@example(cut=10, observed=True, latency=3)
@example(cut=8, observed=False, latency=0)
def test_cut_anywhere_and_resume_gives_the_same_run(cut, observed, latency):
    whole, uncut_homeostat = uncut(latency)
    first = Training()
    first_homeostat = first.attach(every_loop(every=4), latency=latency, report_every=3)
    first.run(cut)
    if observed:
        # A checkpoint may fall between `observe` and the step.
        first_homeostat.observe(loss=123.0)
    state = json.loads(json.dumps(first_homeostat.state_dict()))
    second = Training(seed=99)
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(copy.deepcopy(first.optimizer.state_dict()))
    second.steps, second.losses = first.steps, list(first.losses)
    second_homeostat = second.attach(every_loop(every=4), latency=latency, report_every=3)
    second_homeostat.load_state_dict(state)
    if observed:
        assert [calls for name, _, _, calls, *_ in state["metrics"] if name == "loss"] == [1]
        second_homeostat._engine.plant.metrics.discard()
    second.run(STEPS - cut)
    assert second.losses == whole.losses
    assert second_homeostat.knobs == uncut_homeostat.knobs
    assert same(second.state(), whole.state())
    assert after(records(second_homeostat), cut) == after(records(uncut_homeostat), cut)
    metric = second_homeostat.trace.metric("loss")["value"].tolist() if STEPS - cut > 3 else []
    assert metric == uncut_homeostat.trace.metric("loss")["value"].tolist()[-len(metric) :] or not metric


def test_a_state_passes_through_torch_save(tmp_path):
    training = Training()
    homeostat = training.attach(every_loop())
    training.run(7)
    torch.save(homeostat.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state == homeostat.state_dict()


def test_a_value_observed_before_the_checkpoint_counts_after_it():
    loops = [Loop(Loss(), Hold(), LearningRate(), every=1)]
    first, second = Training(), Training()
    homeostat = first.attach(loops)
    homeostat.observe(loss=8.0)
    state = homeostat.state_dict()
    resumed = second.attach(loops)
    resumed.load_state_dict(state)
    resumed.observe(loss=2.0)
    second.optimizer.step()
    assert resumed.trace.loop("learning_rate")["reading.0"].tolist() == [5.0]


def test_with_precedence_recipe_only_the_tick_is_taken_over():
    first, second = Training(), Training()
    loops = [Loop(Loss(), PID(gain=0.5, integral_time=20.0), RotaryBase(low=10, high=1e6), setpoint=2.0, every=4)]
    homeostat = first.attach(loops)
    first.run(10)
    assert homeostat.knobs != {"rotary_base": (100.0,)}
    other = second.attach([*loops, Loop(Loss(), Hold(), LearningRate())])
    other.load_state_dict(homeostat.state_dict(), precedence="recipe")
    assert other.tick == 10
    assert other.knobs == {"rotary_base": (100.0,), "learning_rate": (1.0,)}
    second.run(3)
    # Due at ticks 12, 16, ...: the cadence goes on; the law starts from the knob as it is.
    assert other.trace.loop("rotary_base")["tick"].tolist() == [12.0]
    assert other.trace.events[-1] == Event(10, "resumed, precedence recipe")


def test_a_dial_is_written_again_on_resume():
    first, second = Training(), Training()
    loops = [Loop(Loss(), Schedule(profile=Profile(points=((0, 5.0),))), RotaryBase(low=10, high=1e6), every=1)]
    state_of = first.attach(loops)
    first.run(2)
    assert first.model.rotary_base.value == pytest.approx(math.exp(5.0), rel=1e-6)
    second.attach(loops).load_state_dict(state_of.state_dict())
    assert second.model.rotary_base.value == first.model.rotary_base.value
    assert second.model.rotary_base() == first.model.rotary_base()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.update(version=0), "must have version 4, or an older one; got 0"),
        (lambda s: s["loops"].update(other=s["loops"].pop("rotary_base")), "same loops"),
        (lambda s: s["loops"]["rotary_base"].update(law="Hold"), "law it was saved with; got Hold for PID"),
        (lambda s: s["loops"]["rotary_base"].update(law_state=[1.0]), "fields of"),
        (lambda s: s["loops"]["rotary_base"].update(delivered=[1.0, 2.0]), "as many knobs"),
        (
            lambda s: s["loops"]["rotary_base"].update(actuators=["RotaryBase (linear)"]),
            r"actuators .* for RotaryBase \(",
        ),
        (lambda s: s["senses"].update(observers=["LossTrend"]), "same observers; got LossTrend for Loss"),
        (lambda s: s["senses"].update(histories=[[1.0]]), "fields of"),
        (lambda s: s["senses"].update(measured=[]), "one entry an observer; got .*'measured': 0} for 1"),
        (lambda s: s["loops"]["rotary_base"].update(memories=[]), "as many memories as it was saved with; got 0 for 1"),
        (lambda s: s.pop("metrics"), r"as state_dict\(\) returns it; got none with metrics"),
        (lambda s: s["monitoring"].pop("flights"), "The metrics of a saved state must be .* none with flights"),
        (lambda s: s["loops"]["rotary_base"].pop("pace"), "state of loop 'rotary_base' must be .* none with pace"),
        (lambda s: s["guards"]["answering"].pop("lost"), "answers of a saved state must be .* none with lost"),
        (lambda s: s["guards"]["lookouts"]["loss spike"].pop("due"), "state of guard 'loss spike' must be .* due"),
        (lambda s: s["guards"]["lookouts"]["loss spike"].update(state=[1.0]), "fields of"),
        (lambda s: s.update(loops=None), "loops of a saved state must be a mapping .* got a NoneType"),
        (lambda s: s.update(groups=[[99]]), "parameter groups of the saved state; got .* Add the groups again"),
        (lambda s: s["metrics"][0].pop(), "must be whole; got one with ValueError"),
        (lambda s: s["loops"]["rotary_base"]["pace"].pop(), "must be whole; got one with ValueError"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change, says):
    loops = [Loop(Loss(), PID(gain=0.5, integral_time=20.0), RotaryBase(low=10, high=1e6), setpoint=2.0, every=4)]
    training = Training()
    homeostat = training.attach(loops, guards=[Guard(Loss(), Spike())])
    training.run(6)
    state, before = copy.deepcopy(homeostat.state_dict()), homeostat.state_dict()
    change(state)
    state["tick"] = 1000
    with pytest.raises(StateError, match=says):
        homeostat.load_state_dict(state)
    assert homeostat.state_dict() == before


@pytest.mark.parametrize("state", [None, [], 3, {"version": 4}, {"version": 1}, {"version": 2, "loops": []}])
@pytest.mark.parametrize("precedence", ["checkpoint", "recipe"])
def test_what_is_no_state_is_refused(state, precedence):
    homeostat = Training().attach([Loop(Loss(), Hold(), LearningRate())])
    before = homeostat.state_dict()
    with pytest.raises(StateError, match="A saved state must be"):
        homeostat.load_state_dict(state, precedence=precedence)
    assert homeostat.state_dict() == before


@pytest.mark.parametrize("recipe", ["steady", "echo"])
def test_groups_that_came_later_are_added_before_a_state_is_loaded(recipe):
    def attached(groups: int) -> tuple[Training, Homeostat]:
        training = Training(lambda model: AdamW(model.query.parameters(), lr=1e-2))
        homeostat = Homeostat.from_recipe(recipe).attach(training.model, training.optimizer)
        for part in (training.model.key, training.model.out)[: groups - 1]:
            training.optimizer.add_param_group({"params": list(part.parameters())})
        return training, homeostat

    training, homeostat = attached(3)
    training.run(30)
    state = json.loads(json.dumps(homeostat.state_dict()))
    again, resumed = attached(2)
    before = resumed.state_dict()
    with pytest.raises(
        StateError, match=r"got \[\[2, 2\]\] tensors in theirs for \[\[2, 2, 2\]\]. Add the groups again"
    ):
        resumed.load_state_dict(state)
    assert resumed.state_dict() == before
    again.optimizer.add_param_group({"params": list(again.model.out.parameters())})
    resumed.load_state_dict(state)
    assert resumed.state_dict() == homeostat.state_dict()


def test_an_unknown_precedence_is_refused():
    homeostat = Training().attach([Loop(Loss(), Hold(), LearningRate())])
    with pytest.raises(ValueError, match="'checkpoint' or 'recipe'; got 'resume'"):
        homeostat.load_state_dict(homeostat.state_dict(), precedence="resume")


NEW = {"memories", "found", "overridden", "pace", "damping"}


def version_1(state: dict[str, Any]) -> dict[str, Any]:
    """The same state as the first version wrote it."""
    metrics = {n: {"sums": s, "counts": k, "calls": c, "pending": p} for n, s, k, c, p, _ in state["metrics"]}
    loops = {
        name: {key: value for key, value in loop.items() if key not in NEW} for name, loop in state["loops"].items()
    }
    senses = {k: {n: v for n, v in state[k].items() if n != "memories"} for k in ("senses", "monitoring")}
    kept = {key: value for key, value in state.items() if key != "guards"}
    return {**kept, **senses, "version": 1, "metrics": metrics, "loops": loops}


def test_a_state_of_the_first_version_is_taken_over():
    first, second = Training(), Training()
    homeostat = first.attach(every_loop())
    first.run(7)
    state = homeostat.state_dict()
    resumed = second.attach(every_loop())
    resumed.load_state_dict(version_1(state))
    assert resumed.tick == 7
    assert resumed.knobs == homeostat.knobs
    # What it did not keep is the memories of the parts, which begin anew.
    assert version_1(resumed.state_dict()) == version_1(state)
    second.run(4)
    assert resumed.tick == 11


def test_the_state_of_a_long_run_stays_small():
    training = Training()
    homeostat = training.attach(every_loop())
    training.run(40)
    small = len(json.dumps(homeostat.state_dict()))
    training.run(40)
    # A few counters get another digit.
    assert len(json.dumps(homeostat.state_dict())) < small + 500 < 30_000
