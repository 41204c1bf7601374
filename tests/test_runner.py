"""A loop at work: readings in, knob moved, reasons told."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD

from homeostat import AttachError, CoupledLoop, Homeostat, Loop, Profile
from homeostat import nn as hnn
from homeostat.actuators import ClipNorm, Dial, Dropout
from homeostat.bounds import outside
from homeostat.laws import PID, Hold, MatrixPI, Schedule
from homeostat.laws.law import Decision, Input, Law
from homeostat.observers import GradientNorm, Loss
from homeostat.plant import Plant
from homeostat.runner import Runner


def plant() -> Plant:
    model = nn.ModuleDict({"knob": hnn.Dial(1.0), "other": hnn.Dial(1.0), "body": nn.Linear(2, 1)})
    return Plant(model, (SGD(model.parameters(), lr=0.1),))


def knob(**fields: Any) -> Dial:
    return Dial(**{"dials": "knob", "low": 0.5, "high": 4.0, **fields})


def runner(law: Law, actuator: Dial | None = None, **fields: Any) -> tuple[Runner, Plant]:
    p = plant()
    loop = Loop(Loss(), law, actuator or knob(), **{"every": 1, **fields}).coupled()
    return Runner(loop, "r", p), p


def course(*values: float) -> Schedule:
    return Schedule(profile=Profile(points=tuple(enumerate(values)), interpolation="step"))


class Recorder(Law):
    """Keeps the knob and remembers what it was given."""

    def init(self) -> tuple[tuple[float, ...], ...]:
        return ()

    def update(self, state: Any, given: Input) -> Decision:
        times = (float(given.elapsed), float(given.held))
        seen = (*given.readings, *given.setpoints, *given.admitted, *map(float, given.moved), *times)
        return Decision(given.admitted, (*state, seen), {"seen": float(len(state))})


class Broken(Law):
    """Answers with no number."""

    def init(self) -> tuple[()]:
        return ()

    def update(self, state: tuple[()], given: Input) -> Decision:
        return Decision((math.nan for _ in given.admitted), state, {})


def test_a_law_is_told_reading_setpoint_position_and_elapsed_ticks():
    r, p = runner(Recorder(), setpoint=2.0, every=5)
    for tick, reading in ((0, 7.0), (5, 8.0), (11, 9.0)):
        p.tick = tick
        r.decide({0: reading})
    # Reading, setpoint, position, whether it was found, ticks since the last decision, those of them in a hold.
    assert r._law_state[:2] == ((7.0, 2.0, 1.0, 1.0, 5.0, 0.0), (8.0, 2.0, 1.0, 0.0, 5.0, 0.0))
    assert r._law_state[2:] == ((9.0, 2.0, 1.0, 0.0, 6.0, 0.0),)


def test_the_record_tells_command_admitted_and_delivered_in_the_knobs_units():
    r, p = runner(course(math.log(100.0)), knob(scale="log", slew=math.log(2.0), quantum=math.log(2.0) * 2))
    record = r.decide({0: 3.0})
    assert record.commands == pytest.approx((100.0,))
    assert record.admitted == pytest.approx((2.0,))
    assert record.delivered == (1.0,)
    assert record.limits == ("slew", "quantised")
    p.tick = 1
    record = r.decide({0: 3.0})
    assert record.admitted == pytest.approx((4.0,))
    assert record.delivered == pytest.approx((4.0,))
    assert p.model["knob"].value == pytest.approx(4.0)


@pytest.mark.parametrize(("wanted", "limit", "stands"), [(-3.0, "low", 0.5), (99.0, "high", 4.0)])
def test_limits_are_kept_and_told(wanted, limit, stands):
    r, p = runner(course(wanted))
    record = r.decide({0: 1.0})
    assert (record.commands, record.admitted, record.limits) == ((wanted,), (stands,), (limit,))
    assert p.model["knob"].value == stands


def test_a_command_that_is_no_number_holds():
    r, p = runner(Broken())
    record = r.decide({0: 1.0})
    assert record.limits == ("held",)
    assert p.model["knob"].value == 1.0


def test_a_law_hears_of_the_ticks_that_a_hold_took():
    r, p = runner(Recorder(), every=5)
    for tick, reading in ((0, 1.0), (5, math.nan), (10, math.inf), (15, 2.0), (20, 3.0)):
        p.tick = tick
        r.decide({0: reading})
    assert [seen[-2:] for seen in r._law_state] == [(5.0, 0.0), (15.0, 10.0), (5.0, 0.0)]


@pytest.mark.parametrize("hold", [0, 1, 200])
def test_an_integral_does_not_answer_for_the_whole_hold_at_once(hold):
    r, p = runner(PID(gain=0.01, integral_time=1.0), setpoint=2.0, patience=1000)
    readings = [1.9, *[math.nan] * hold, 1.9, 1.9]
    for p.tick, reading in enumerate(readings):
        r.decide({0: reading})
    # Two intervals with an error of 0.1, whatever passed in between.
    assert p.model["knob"].value == pytest.approx(1.0 + 2 * 0.01 * 0.1)


def test_a_law_departs_from_where_a_hold_has_left_the_knob():
    """Whether something else moved it then, or the loop itself brought it to `safe`."""
    for safe, left in ((None, 3.0), (2.0, 2.0)):
        r, p = runner(PID(gain=0.1, integral_time=50.0), knob(low=0.01), setpoint=1.0, patience=2, safe=safe)
        for p.tick, reading in enumerate((1.0, 1.0, math.nan, math.nan, 1.0)):
            if p.tick == 2:
                p.model["knob"].set(3.0)
            r.decide({0: reading})
        assert p.model["knob"].value == left
        assert r._law_state.command == pytest.approx(left)


def test_a_schedule_is_where_it_would_be_without_the_hold():
    r, p = runner(course(1.0, 1.5, 2.0, 2.5, 3.0))
    for tick, reading in enumerate((1.0, math.nan, math.nan, math.nan, 1.0)):
        p.tick = tick
        r.decide({0: reading})
    assert p.model["knob"].value == 3.0


def test_a_knob_does_not_make_up_for_a_hold_in_one_jump():
    r, p = runner(course(1.0, 4.0, 4.0, 4.0, 4.0), knob(slew=0.25))
    stood = []
    for tick, reading in enumerate((1.0, math.nan, math.nan, 1.0, 1.0)):
        p.tick = tick
        r.decide({0: reading})
        stood.append(p.model["knob"].value)
    assert stood == [1.0, 1.0, 1.0, 1.25, 1.5]


def test_a_loop_of_several_readings_decides_once_all_were_seen():
    law = MatrixPI(gain=((0.1, 0.0), (0.0, 0.1)), integral=((0.1, 0.0), (0.0, 0.1)), tracking_time=10.0)
    loop = CoupledLoop(
        observers=(Loss(), GradientNorm()),
        law=law,
        actuators=(knob(), knob(dials="other")),
        setpoints=(1.0, 1.0),
    )
    r = Runner(loop, "r", plant())
    assert r.decide({0: 2.0}) is None
    assert r.decide({1: 3.0}).readings == (2.0, 3.0)
    # The other reading is the last one seen.
    assert r.decide({0: 5.0}).readings == (5.0, 3.0)


def test_an_unmoved_knob_is_not_written():
    r, p = runner(Hold())
    version = p.model["knob"].position._version
    for _ in range(3):
        r.decide({0: 1.0})
    assert p.model["knob"].position._version == version


def test_restore_puts_the_knob_back_and_release_stops_the_count():
    r, p = runner(course(3.0))
    r.decide({0: 1.0})
    assert p.model["knob"].value == 3.0
    r.restore()
    assert p.model["knob"].value == 1.0
    assert p.model["knob"].watching
    r.release()
    assert not p.model["knob"].watching


readings = st.lists(st.floats(-10, 10) | st.just(math.nan), min_size=1, max_size=12)


@given(readings, st.integers(0, 12), st.floats(0.1, 5.0), st.none() | st.floats(0.05, 1.0))
def test_state_continues_bit_equal(values, cut, gain, quantum):
    def make() -> tuple[Runner, Plant]:
        law = PID(gain=gain, integral_time=3.0)
        return runner(law, knob(slew=0.5, quantum=quantum), setpoint=1.0, safe=2.0, patience=2)

    def go(r: Runner, p: Plant, start: int, numbers: list[float]) -> list[str]:
        records = []
        for tick, value in enumerate(numbers, start):
            p.tick = tick
            records.append(repr(r.decide({0: value})))
        return records

    whole, p = make()
    told = go(whole, p, 0, values)
    first, p1 = make()
    before = go(first, p1, 0, values[:cut])
    second, p2 = make()
    state = json.loads(json.dumps(first.state_dict()))
    second.check(state)
    second.load_state_dict(state)
    assert before + go(second, p2, cut, values[cut:]) == told
    assert torch.equal(p2.model["knob"](), p.model["knob"]())


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=10), st.none() | st.floats(0.01, 1.0))
def test_a_knob_never_leaves_its_limits(values, slew):
    r, p = runner(PID(gain=5.0, integral_time=2.0), knob(slew=slew), setpoint=0.0, patience=1000)
    for tick, value in enumerate(values):
        p.tick = tick
        before = p.model["knob"].value
        r.decide({0: value})
        after = p.model["knob"].value
        assert 0.5 <= after <= 4.0
        # Each of the two is rounded to float32, whose steps below 4 are 2.4e-7.
        assert slew is None or abs(after - before) <= slew + 2.4e-7


def test_a_knob_outside_its_limits_is_refused_rather_than_moved():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loop = Loop(Loss(), Hold(), Dropout(low=0.0, high=0.3))
    with pytest.raises(AttachError, match=r"got 0.4 outside \[0, 0.3\]. Start it inside"):
        Homeostat([loop]).attach(model, optimizer)
    assert model[1].p == 0.4


@pytest.mark.parametrize("wrong", [9.0, 0.1])
def test_a_knob_that_is_found_outside_its_limits_is_put_back_to_where_it_was_left(wrong):
    r, p = runner(course(2.0), every=1)
    r.decide({0: 1.0})
    p.model["knob"].set(wrong)
    r.contain()
    assert r.read() == r.delivered == (2.0,)
    assert "Loop 'r': Dial must stand within its limits; got" in r.alarms[0].text
    # The law does not hear of it.
    assert r.decide({0: 1.0}).limits == ()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_knob_that_is_no_number_stands_outside(number):
    assert outside((knob(),), (number,)) == [f"Dial must stand within its limits; got {number:g} outside [0.5, 4]."]


@pytest.mark.parametrize("inside", [0.5, 1.7, 4.0])
def test_a_knob_that_something_else_moves_within_its_limits_is_left_there(inside):
    r, p = runner(Hold(), every=1)
    r.decide({0: 1.0})
    p.model["knob"].set(inside)
    r.contain()
    assert r.read() == (pytest.approx(inside),)
    assert not r.alarms


def test_a_knob_outside_its_limits_is_left_there_by_a_controller_that_only_advises():
    p = plant()
    r = Runner(Loop(Loss(), Hold(), knob(), every=1).coupled(), "r", p, advise=True)
    p.model["knob"].set(9.0)
    r.contain()
    assert r.read() == (9.0,)


def with_stuck_dropout(model: nn.Sequential, optimizer: SGD) -> None:
    for step in range(8):
        if step == 2:
            model[1].p = 0.95
        optimizer.zero_grad()
        model(torch.ones(3, 2)).sum().backward()
        optimizer.step()


def test_dropout_that_got_stuck_is_put_back_in_a_training_run_though_its_loop_never_decides():
    model = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.1), nn.Linear(4, 1))
    optimizer = SGD(model.parameters(), lr=0.1)
    loops = [Loop(Loss(metric="absent"), Hold(), Dropout(), every=5), Loop(GradientNorm(), Hold(), ClipNorm(), every=5)]
    homeostat = Homeostat(loops).attach(model, optimizer)
    with pytest.warns(match="Dropout must stand within its limits; got 0.95 outside"):
        with_stuck_dropout(model, optimizer)
    assert model[1].p == 0.1
    assert any("Put back" in event.text for event in homeostat.trace.events)
