"""A regulator that learns the plant while it controls it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as ranging
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import ValidationError

from homeostat.laws import Decision, Input, SelfTuning
from homeostat.laws.recursive_least_squares import Estimate, learn, project
from homeostat.profile import Profile
from homeostat.simulation import FirstOrder, SimulatedRun, simulate

LAW = SelfTuning(gain=(0.1, 10), time_constant=(3, 100), closed_loop_time=10, noise=0.01, every=1)
STEPS = Profile(points=tuple((100 * i, float(i % 2)) for i in range(13)), interpolation="step")


def decisions(law: SelfTuning, readings: np.ndarray, admitted: np.ndarray, setpoint: float = 0.0) -> list[Decision]:
    """What the law decides on a recorded course; `admitted` are the positions before each decision."""
    state, out = law.init(), []
    for i, (reading, position) in enumerate(zip(readings.tolist(), admitted.tolist(), strict=True)):
        out.append(law.update(state, Input((reading,), (setpoint,), (position,), (i == 0,), law.every)))
        state = out[-1].state
    return out


def decisions_of(law: SelfTuning, run: SimulatedRun) -> list[Decision]:
    """The decisions of a simulated run, once more."""
    state, out, positions = law.init(), [], [0.0, *run.admitted.tolist()]
    for i, (reading, wanted) in enumerate(zip(run.reading.tolist(), run.setpoint.tolist(), strict=True)):
        out.append(law.update(state, Input((reading,), (wanted,), (positions[i],), (i == 0,), law.every)))
        state = out[-1].state
    return out


def excited(gain: float, time_constant: float, seed: int, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray, tuple]:
    """Readings of a first-order plant under random knob positions, those positions, and the true (a, b, c)."""
    rng = np.random.default_rng(seed)
    a = np.exp(-1 / time_constant)
    b, c, level, readings, positions = gain * (1 - a), 0.3, 2.0, [], [0.0, *rng.normal(size=120)]
    for position in positions:
        level = a * level + b * position + c if readings else level
        readings.append(level + noise * rng.normal())
    readings, positions = np.array(readings), np.array(positions)
    # Counted from the start, as the law counts: only the constant differs.
    return readings, positions, (a, b, c - readings[0] * (1 - a))


@ranging(st.floats(0.5, 9), st.floats(4, 90), st.integers(0, 99))
@settings(max_examples=8)
def test_without_noise_the_distance_to_the_truth_never_grows(gain: float, time_constant: float, seed: int) -> None:
    readings, positions, truth = excited(gain, time_constant, seed)
    distances = []
    for decision in decisions(LAW, readings, positions):
        estimate = decision.state.estimate
        wrong = np.array(estimate.parameters) - truth
        distances.append(wrong @ np.linalg.solve(np.array(estimate.covariance), wrong))
    assert (np.diff(distances) <= 1e-6 * max(distances)).all()
    assert distances[-1] < 0.1 * distances[0]
    np.testing.assert_allclose(estimate.parameters[:2], truth[:2], atol=5e-3)


@pytest.mark.parametrize("gain", [0.3, 1.0, 5.0, 10.0])
@pytest.mark.parametrize(("time_constant", "dead_time"), [(5.0, 0), (20.0, 4)])
def test_learns_a_plant_whose_gain_it_knows_to_a_factor_of_a_hundred(
    gain: float, time_constant: float, dead_time: int
) -> None:
    law = LAW.model_copy(update={"dead_time": dead_time})
    plant = FirstOrder(gain=gain, time_constant=time_constant, dead_time=dead_time, noise=0.01, offset=3.0)
    run = simulate(law, plant, ticks=1300, setpoint=STEPS)
    # A pole of 10 ticks takes 10 of error in a step, and as many as the dead time more; the rest is noise.
    assert np.abs(run.reading - run.setpoint)[1100:1200].sum() < 10 + dead_time + 100 * 0.02
    assert run.reading[1100:].max() < 1.1
    assert run.reading[1100:].min() > -0.1


def test_does_not_learn_where_nothing_excites() -> None:
    rng = np.random.default_rng(0)
    course = decisions(LAW, 0.5 + 0.01 * rng.normal(size=300), np.zeros(300), setpoint=0.5)
    assert course[-1].state.estimate == LAW.init().estimate
    moving = decisions(LAW, 0.5 + 0.01 * rng.normal(size=300), rng.normal(size=300), setpoint=0.5)
    assert moving[-1].state.estimate != LAW.init().estimate


def test_a_long_rest_in_closed_loop_does_not_unlearn_the_gain() -> None:
    """Noise alone correlates with the regulator's own answer to it, and would be taken for the plant."""
    plant = FirstOrder(gain=0.3, time_constant=20.0, noise=0.05)
    law = LAW.model_copy(update={"noise": 0.05})
    run = simulate(law, plant, ticks=4000, setpoint=Profile(points=((0, 0.0), (100, 1.0)), interpolation="step"))
    gains = [d.terms["gain"] for d in decisions_of(law, run)[1:]]
    assert gains[1000] == pytest.approx(0.3, rel=0.2)
    assert gains[-1] == gains[1000]


def test_the_covariance_stays_bounded_through_a_long_rest() -> None:
    readings, positions, _ = excited(1.0, 10.0, 0, noise=0.01)
    rest = np.full(3000, readings[-1])
    course = decisions(
        LAW.model_copy(update={"memory": 50.0}),
        np.concatenate([readings, rest]),
        np.concatenate([positions, np.full(3000, positions[-1])]),
    )
    first, last = (np.diag(np.array(d.state.estimate.covariance)) for d in (course[0], course[-1]))
    assert (last[:2] <= first[:2]).all()


@ranging(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=30), st.integers(0, 5))
@settings(max_examples=25)
def test_parameters_stay_in_range_and_the_knob_moves_at_a_bounded_speed(readings: list[float], dead_time: int) -> None:
    law = LAW.model_copy(update={"dead_time": dead_time})
    state, position, kept = law.init(), 0.0, np.exp(-1 / 10)
    last = -readings[0]
    for i, reading in enumerate(readings):
        decision = law.update(state, Input((reading,), (0.0,), (position,), (i == 0,), 1))
        if i:
            a, gain = decision.terms["decay"], decision.terms["gain"]
            assert np.exp(-1 / 3) - 1e-12 <= a <= np.exp(-1 / 100) + 1e-12
            assert 0.1 <= gain <= 10
            past = decision.state.positions
            bound = (1 - kept) * (abs(reading) + abs(last)) / (gain * (1 - a)) * (1 + 1e-9) + 1e-9 * max(map(abs, past))
            assert min(past) - bound <= decision.command[0] <= max(past) + bound
        state, (position,), last = decision.state, decision.command, -reading


def test_starts_and_takes_over_without_a_bump_and_leaves_a_limit_at_once() -> None:
    first = LAW.update(LAW.init(), Input((3.0,), (1.0,), (0.7,), (True,), 1))
    assert first.command == (0.7,)
    moved = LAW.update(first.state, Input((1.0,), (1.0,), (5.0,), (True,), 1))
    assert moved.command == (5.0,)
    state, held = first.state, 0.7
    for _ in range(500):
        decision = LAW.update(state, Input((0.0,), (10.0,), (held,), (False,), 1))
        state = decision.state
    assert decision.command[0] > held
    state = LAW.update(state, Input((20.0,), (10.0,), (held,), (False,), 1))
    assert state.command[0] < held


def test_a_pause_teaches_nothing_and_integrates_the_error_once() -> None:
    readings, positions, _ = excited(1.0, 10.0, 0)
    state = decisions(LAW, readings, positions)[-1].state
    decision = LAW.update(state, Input((9.0,), (10.0,), (2.0,), (False,), 77))
    assert decision.state.estimate == state.estimate
    # With the error taken as standing, the step is (1 - q) e / gain.
    expected = 2.0 - np.expm1(-1 / 10) / decision.terms["gain"]
    assert decision.command[0] == pytest.approx(expected, rel=1e-9)


def test_least_squares_agree_with_all_data_at_once() -> None:
    rng = np.random.default_rng(0)
    phi, y = rng.normal(size=(30, 3)), rng.normal(size=30)
    start = Estimate((1.0, 2.0, 3.0), ((4.0, 0.0, 0.0), (0.0, 5.0, 0.0), (0.0, 0.0, 6.0)))
    estimate = start
    for row, answer in zip(phi, y, strict=True):
        estimate = learn(estimate, row, answer, forgetting=0.9, drift=np.zeros(3))
    weights = 0.9 ** np.arange(29, -1, -1)
    information = 0.9**30 * np.diag([1 / 4, 1 / 5, 1 / 6]) + (phi.T * weights) @ phi
    vector = 0.9**30 * np.array([1 / 4, 2 / 5, 3 / 6]) + (phi.T * weights) @ y
    np.testing.assert_allclose(estimate.parameters, np.linalg.solve(information, vector), rtol=1e-9)
    np.testing.assert_allclose(estimate.covariance, np.linalg.inv(information), rtol=1e-9, atol=1e-12)


def test_projects_to_the_nearest_point_in_the_metric_of_the_information() -> None:
    estimate = Estimate((3.0, 1.0), ((2.0, 1.0), (1.0, 1.0)))
    moved = project(estimate, [((1.0, 0.0), 1.0)])
    # On theta_1 = 1 the distance (theta - (3, 1))' P^-1 (theta - (3, 1)) is least at theta_2 = 1 - 2 P12 / P11.
    assert moved.parameters == pytest.approx((1.0, 0.0))
    assert project(moved, [((1.0, 0.0), 1.0)]) == moved


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gain": (-1.0, 1.0)}, "a range of one sign"),
        ({"gain": (2.0, 1.0)}, "a range of one sign"),
        ({"time_constant": (5.0, 1.0)}, "must be a range from 0.01 to"),
        ({"dead_time": 2000}, "at most 1000 decisions"),
    ],
)
def test_refuses_ranges_that_are_none(fields: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SelfTuning.model_validate(LAW.model_dump() | fields)
