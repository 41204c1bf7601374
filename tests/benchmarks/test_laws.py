"""What the table of laws claims, and how its figures are made."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest

from benchmarks.laws import quantised, training
from benchmarks.laws.__main__ import OURS, PEER, headline, runs, table, tasks
from benchmarks.laws.measure import judge, measure, undisturbed
from homeostat.laws import Law, RelayTest, StepTest
from homeostat.part import Part
from homeostat.simulation import FirstOrder, SimulatedRun, simulate

TASKS = list(tasks())


def kinds(part: object) -> set[type[Law]]:
    if isinstance(part, tuple):
        return {kind for item in part for kind in kinds(item)}
    if not isinstance(part, Law):
        return set()
    return {type(part)}.union(*(kinds(getattr(part, name)) for name in type(part).model_fields))


def test_every_law_that_steers_is_in_the_table():
    own = {c for c in Part.kinds.values() if issubclass(c, Law) and c.__module__.split(".")[0] == "homeostat"}
    steering = {law for law in own if not inspect.isabstract(law)} - {RelayTest, StepTest}
    assert steering <= {kind for task in TASKS for law in task.laws.values() for kind in kinds(law)}


def divergence(name: str, gain: float):
    task = training.divergence()
    return judge(task.laws[name], task.plant(gain), task.goal, **task.how)


def test_the_plant_shows_the_published_rule_as_it_is_known():
    off, as_assumed = divergence(PEER, 10.0), divergence(PEER, 1.0)
    assert off.overshoot == pytest.approx(6.38, rel=0.01)
    assert off.iae == pytest.approx(1386, rel=0.03)
    assert off.settling == pytest.approx(480, rel=0.01)
    assert as_assumed.overshoot == pytest.approx(0.15, abs=0.005)


def test_the_default_beats_it_ten_times_where_the_gain_is_ten_times_off():
    off, peer = divergence(OURS, 10.0), divergence(PEER, 10.0)
    assert off.overshoot < min(peer.overshoot, 6.38) / 10
    assert off.iae < min(peer.iae, 1386) / 10


def test_the_default_settles_as_soon_where_the_gain_is_as_assumed():
    assert divergence(OURS, 1.0).settling < min(divergence(PEER, 1.0).settling, 181)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.title)
def test_every_law_runs_under_every_condition(task):
    short = list(runs(task._replace(how={**task.how, "ticks": 12})))
    assert len(short) == 3 * len(task.laws) * len(task.conditions)
    assert not any(math.isnan(value) for run in short for value in run.values() if isinstance(value, float))


def test_tables_have_a_row_a_law_and_a_cell_a_gain():
    found = list(runs(training.divergence()._replace(conditions={"clean": training.clean})))
    lines = table(found).splitlines()
    assert len(lines) == 2 + len(training.divergence().laws)
    assert {line.count(" | ") for line in lines[2:]} == {3}
    assert "637%" in headline(found)


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        (steps, name)
        for steps in (quantised.window(), quantised.batch())
        for name in steps.laws
        if "without" not in name
    ],
    ids=lambda value: value if isinstance(value, str) else value.title,
)
def test_a_knob_in_steps_rests_within_half_a_quantum(steps, name):
    (goal,) = steps.goals[1:2]
    (found,) = quantised.rows(steps._replace(laws={name: steps.laws[name]}, goals=(goal,)), gains=(1.0,))
    assert found["steady_quanta"] <= 0.5
    assert found["moves"] == 0


def recorded(reading: list[float], knob: list[float]) -> SimulatedRun:
    columns = [np.array(values) for values in (reading, [1.0] * len(reading), knob, knob, knob)]
    return SimulatedRun(*columns)


def test_figures_are_those_of_the_definition():
    reading = [0.0, 0.5, 1.2, 0.9, 1.04, 1.0, 1.0, 1.0]
    run = recorded(reading, [0.0, 2.0, 2.0, -1.0, 0.0, 0.0, 1.0, 0.0])
    found = measure(run, np.array(reading)[:, None], np.array([1.0]), -1.0, 2.0)
    assert found.overshoot == pytest.approx(0.2)
    assert found.settling == 4
    assert found.iae == found.seen == pytest.approx(1 + 0.5 + 0.2 + 0.1 + 0.04)
    assert found.travel == 2 + 3 + 1 + 1 + 1
    assert found.saturation == 3 / 8
    assert (found.steady, found.moves, found.range) == (0.0, 500.0, (1.0, 1.0))


def test_a_reading_that_never_stays_is_not_settled():
    found = measure(recorded([0.0, 1.0, 0.9], [0.0] * 3), np.array([[0.0], [1.0], [0.9]]), np.ones(1), -1, 1)
    assert found.settling == math.inf


def test_the_true_reading_is_that_of_the_same_knobs_without_noise():
    law, noisy = training.divergence().laws[OURS], FirstOrder(noise=0.3, dead_time=2)
    run = simulate(law, noisy, setpoint=1.0, start=1.0, ticks=50)
    truth = undisturbed(noisy, run.delivered)[:, 0]
    noise = np.random.default_rng(0).standard_normal((1, 50))[0]
    assert run.reading == pytest.approx(truth + 0.3 * noise)
