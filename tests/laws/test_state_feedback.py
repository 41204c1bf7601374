"""Linear-quadratic control of several readings by several knobs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given as ranging
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import ValidationError

from homeostat.laws import Input, LinearModel, MatrixPI, StateFeedback
from homeostat.laws.riccati import regulator
from homeostat.simulation import FirstOrder, TwoByTwo, simulate


def law_for(plant: TwoByTwo, every: int = 1, **fields: object) -> StateFeedback:
    model = LinearModel.first_order(plant.gain, plant.time_constants, plant.dead_times)
    given = {"tolerances": (0.1, 0.1), "efforts": (1.0, 1.0), "integral_time": 10.0, "noise": (0.1, 0.1)}
    return StateFeedback(model=model, every=every, **(given | fields))


plants = st.builds(
    TwoByTwo,
    gains=st.tuples(st.sampled_from([0.01, 1.0, 30.0]), st.sampled_from([-1.0, 2.0])),
    interaction=st.tuples(st.sampled_from([-0.9, 0.0, 0.8, 3.0]), st.sampled_from([-0.9, 0.0, 0.8, 3.0])),
    time_constants=st.tuples(*[st.tuples(*[st.sampled_from([2.0, 9.0, 30.0])] * 2)] * 2),
    dead_times=st.tuples(st.integers(0, 5), st.integers(0, 5)),
)


@ranging(plants, st.sampled_from([1, 5]))
@settings(max_examples=12)
def test_holds_both_setpoints_of_any_plant_that_it_knows(plant: TwoByTwo, every: int) -> None:
    tolerances = (0.1 * abs(plant.gains[0]), 0.1 * abs(plant.gains[1]))
    law = law_for(plant, every, tolerances=tolerances, noise=tolerances)
    goals = (0.7 * plant.gains[0], -1.2 * plant.gains[1])
    run = simulate(law, plant, ticks=2000, setpoint=goals, every=every)
    np.testing.assert_allclose(run.reading[-1], goals, rtol=1e-3)


@ranging(plants, st.sampled_from([1, 5]))
@settings(max_examples=15)
def test_closed_loop_poles_are_the_regulators_and_the_filters(plant: TwoByTwo, every: int) -> None:
    """Separation: with the model exact, the poles are those of A - B K (with the errors' sums) and of A - A L C."""
    law = law_for(plant, every)
    n, m = law.shape
    model = law.model
    weights = {"tolerances": law.tolerances, "efforts": law.efforts, "noise": law.noise, "every": every}
    gains = regulator(model, integral_decisions=law.integral_time / every, **weights)
    c, s = gains.output, len(model.state_matrix)
    augmented = np.block([[gains.a, np.zeros((s, n))], [-c @ gains.a, np.eye(n)]])
    drive = np.vstack([gains.b, -c @ gains.b])
    regulating = augmented - drive @ np.hstack([gains.feedback, -gains.integral])
    filtering = gains.a - gains.a @ gains.correction @ c
    poles = np.abs(np.concatenate([np.linalg.eigvals(regulating), np.linalg.eigvals(filtering)]))
    assert poles.max() < 1
    # The loop as it runs: the law's own decisions, column by column, on x, estimate, command.
    size = s + s + m

    def advance(vector: np.ndarray) -> np.ndarray:
        x, estimate, command = vector[:s], vector[s : 2 * s], vector[2 * s :]
        x = gains.a @ x + gains.b @ command
        state = law.init()._replace(estimate=tuple(estimate), command=tuple(command))
        given = Input(tuple(c @ x), (0.0,) * n, tuple(command), (False,) * m, every)
        decision = law.update(state, given)
        return np.array([*x, *decision.state.estimate, *decision.command])

    loop = np.column_stack([advance(column) for column in np.eye(size)])
    found = np.sort(np.abs(np.linalg.eigvals(loop)))[::-1]
    assert found[0] == pytest.approx(poles.max(), abs=1e-6)


def test_a_setpoint_of_one_reading_moves_the_other_little() -> None:
    plant = TwoByTwo(interaction=(0.9, 0.9))
    run = simulate(law_for(plant), plant, ticks=600, setpoint=(1.0, 0.0))
    assert np.abs(run.reading[:, 1]).max() < 0.2
    assert np.abs(run.reading[-1] - (1.0, 0.0)).max() < 1e-3


def test_removes_the_error_of_a_wrong_model_and_of_a_load() -> None:
    plant = TwoByTwo(interaction=(0.5, 0.5))
    real = TwoByTwo(gains=(1.6, 0.7), interaction=(0.4, 0.7), offset=(3.0, -2.0), time_constants=((15.0, 7.0),) * 2)
    run = simulate(law_for(plant), real, ticks=2000, setpoint=(4.0, -2.5))
    np.testing.assert_allclose(run.reading[-1], (4.0, -2.5), atol=1e-3)


def test_irregular_decisions_predict_exactly() -> None:
    """With the model exact and the working point at rest, no decision is surprised, however far apart."""
    plant = TwoByTwo(interaction=(0.5, 0.5), dead_times=(3, 0))
    law, state, knobs, x, rng = law_for(plant, every=5), None, (0.0, 0.0), plant.init(), np.random.default_rng(1)
    state = law.init()
    for i in range(40):
        elapsed = int(rng.integers(1, 12)) if i else 5
        for _ in range(elapsed if i else 0):
            x = plant.advance(x, knobs, (0.0, 0.0))
        given = Input(plant.observe(x, (0.0, 0.0)), (1.0, -1.0), knobs, (i == 0,) * 2, elapsed)
        decision = law.update(state, given)
        assert all(abs(v) < 1e-9 for name, v in decision.terms.items() if name.startswith("innovation"))
        knobs, state = decision.command, decision.state


def test_more_knobs_than_readings_share_the_work() -> None:
    model = LinearModel.first_order(((1.0, 1.0),), 10)
    law = StateFeedback(model=model, tolerances=(0.1,), efforts=(1.0, 2.0), integral_time=5, noise=(0.1,), every=1)
    state, knobs, level = law.init(), (0.0, 0.0), 0.0
    for i in range(500):
        decision = law.update(state, Input((level,), (1.0,), knobs, (i == 0,) * 2, 1))
        state, knobs = decision.state, decision.command
        level += 0.1 * (sum(knobs) - level)
    assert level == pytest.approx(1.0, abs=1e-3)
    assert 1.5 < knobs[1] / knobs[0] < 6  # the one with the greater effort moves more


def test_leaves_a_limit_soon_after_the_setpoint_comes_into_reach() -> None:
    plant = TwoByTwo(interaction=(0.3, 0.3))
    law = law_for(plant)
    state, knobs, x, back = law.init(), (0.0, 0.0), plant.init(), None
    for i in range(1200):
        goal = (5.0, 0.0) if i < 1000 else (0.5, 0.0)
        decision = law.update(state, Input(plant.observe(x, (0.0, 0.0)), goal, knobs, (i == 0,) * 2, 1))
        state = decision.state
        knobs = (min(1.0, decision.command[0]), min(1.0, max(-1.0, decision.command[1])))
        if i >= 1000 and back is None and knobs[0] < 1.0:
            back = i - 1000
        x = plant.advance(x, knobs, (0.0, 0.0))
    assert back is not None
    assert back < 20
    np.testing.assert_allclose(plant.observe(x, (0.0, 0.0)), (0.5, 0.0), atol=0.02)


def test_a_law_with_other_weights_takes_over_without_a_bump() -> None:
    plant = TwoByTwo(interaction=(0.5, 0.5))
    old, new = law_for(plant), law_for(plant, tolerances=(0.01, 0.2))
    state, knobs, x = old.init(), (0.0, 0.0), plant.init()
    for i in range(300):
        decision = old.update(state, Input(plant.observe(x, (0.0, 0.0)), (1.0, 0.5), knobs, (i == 0,) * 2, 1))
        state, knobs = decision.state, decision.command
        x = plant.advance(x, knobs, (0.0, 0.0))
    goal = plant.observe(x, (0.0, 0.0))
    following = new.update(state, Input(goal, goal, knobs, (False, False), 1))
    np.testing.assert_allclose(following.command, knobs, atol=2e-3)


def test_a_knob_moved_elsewhere_is_taken_from_where_it_is() -> None:
    plant = TwoByTwo(interaction=(0.5, 0.5))
    law = law_for(plant)
    first = law.update(law.init(), Input((0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (True, True), 1))
    x = plant.advance(plant.init(), (3.0, 0.0), (0.0, 0.0))
    seen = plant.observe(x, (0.0, 0.0))
    second = law.update(first.state, Input(seen, seen, (3.0, 0.0), (True, False), 1))
    # No error: the knob leaves its new position only by what the state itself asks for.
    assert (second.terms["I0"], second.terms["I1"]) == (3.0, 0.0)
    assert second.command == (3.0 + second.terms["F0"], second.terms["F1"])


@ranging(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.integers(0, 9))
@settings(max_examples=20)
def test_units_do_not_matter(reading: float, knob: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    plain = law_for(TwoByTwo(interaction=(0.5, 0.5)))
    gains = tuple(tuple(k * reading / knob for k in row) for row in TwoByTwo(interaction=(0.5, 0.5)).gain)
    scaled = StateFeedback(
        model=LinearModel.first_order(gains, 10.0),
        tolerances=(0.1 * reading,) * 2,
        efforts=(knob,) * 2,
        integral_time=10.0,
        noise=(0.1 * reading,) * 2,
        every=1,
    )
    states, knobs = [plain.init(), scaled.init()], (0.0, 0.0)
    for i in range(10):
        y, r = rng.normal(size=(2, 2))
        one = plain.update(states[0], Input(tuple(y), tuple(r), knobs, (i == 0,) * 2, 1))
        wide = Input(tuple(y * reading), tuple(r * reading), tuple(u * knob for u in knobs), (i == 0,) * 2, 1)
        other = scaled.update(states[1], wide)
        np.testing.assert_allclose(np.array(other.command) / knob, one.command, rtol=1e-6, atol=1e-9)
        states, knobs = [one.state, other.state], one.command


def test_controls_an_unstable_plant() -> None:
    model = LinearModel(state_matrix=((1.05,),), input_matrix=((0.1,),), output_matrix=((1.0,),))
    law = StateFeedback(model=model, tolerances=(0.1,), efforts=(1.0,), integral_time=20, noise=(0.05,), every=1)
    state, knob, x = law.init(), 0.0, 0.0
    for i in range(300):
        decision = law.update(state, Input((x,), (1.0,), (knob,), (i == 0,), 1))
        state, (knob,) = decision.state, decision.command
        x = 1.05 * x + 0.1 * knob
    assert x == pytest.approx(1.0, abs=1e-3)


def test_a_long_pause_of_an_unstable_model_is_bridged_by_the_readings() -> None:
    model = LinearModel(state_matrix=((2.0,),), input_matrix=((1.0,),), output_matrix=((1.0,),))
    law = StateFeedback(model=model, tolerances=(1.0,), efforts=(1.0,), integral_time=20, noise=(1.0,), every=1)
    first = law.update(law.init(), Input((1.0,), (0.0,), (0.0,), (True,), 1))
    started = first.state._replace(estimate=(1.0,))
    decision = law.update(started, Input((2.0,), (0.0,), (0.0,), (False,), 5000))
    assert math.isfinite(decision.command[0])
    assert abs(decision.state.estimate[0]) <= 1.0


def test_agrees_with_one_knob_on_a_first_order_plant() -> None:
    model = LinearModel.first_order(((2.0,),), 10)
    law = StateFeedback(model=model, tolerances=(0.1,), efforts=(1.0,), integral_time=5, noise=(0.01,), every=1)
    run = simulate(law, FirstOrder(gain=2.0, offset=1.0, level=1.0), ticks=200, setpoint=3.0)
    assert run.command[0] == 0.0
    assert run.reading[-1] == pytest.approx(3.0, abs=1e-6)
    assert run.reading.max() < 3.3


ONE = {"tolerances": (1.0,), "efforts": (1.0,), "integral_time": 5.0, "noise": (1.0,)}
TWO = {"tolerances": (1.0, 1.0), "efforts": (1.0, 1.0), "integral_time": 5.0, "noise": (1.0, 1.0)}


@pytest.mark.parametrize(
    ("a", "b", "c", "fields", "message"),
    [
        (((0.9, 0.0), (0.0, 1.1)), ((1.0,), (0.0,)), ((1.0, 1.0),), ONE, "got one at 1.1 that is uncontrollable"),
        (((0.9, 0.0), (0.0, 1.0)), ((1.0,), (1.0,)), ((1.0, 0.0),), ONE, "got one at 1 that is unobservable"),
        (((0.9,),), ((1.0, 1.0),), ((1.0,), (2.0,)), TWO, "a zero at 1: they hold only 1 of them"),
        # x1 - x2 of two lags with the same gain: a step of the knob leaves no trace in the end.
        (((0.9, 0.0), (0.0, 0.5)), ((0.1,), (0.5,)), ((1.0, -1.0),), ONE, "a zero at 1: they hold only 0 of them"),
        (((0.9,),), ((1.0,),), ((1.0,),), {**ONE, "efforts": (1.0, 2.0)}, "efforts must be 1 numbers"),
        (((0.9,),), ((1.0,),), ((1.0,),), {**ONE, "noise": (0.0,)}, "noise must be 1 numbers"),
    ],
)
def test_refuses_what_no_feedback_can_do(a: tuple, b: tuple, c: tuple, fields: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        StateFeedback(model=LinearModel(state_matrix=a, input_matrix=b, output_matrix=c), every=1, **fields)


def test_the_integral_counts_the_ticks_but_not_those_that_were_held() -> None:
    law = law_for(TwoByTwo())
    first = law.update(law.init(), Input((0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (True, True), 1))
    plain = Input((0.0, 0.0), (1.0, 1.0), (0.0, 0.0), (False, False), 1)
    once = law.update(first.state, plain).terms["I0"]
    assert once > 0
    for free, held in ((1, 50), (4, 0), (4, 50)):
        decision = law.update(first.state, plain._replace(elapsed=free + held, held=held))
        assert decision.terms["I0"] == pytest.approx(free * once)


def test_settles_where_a_loop_each_oscillates() -> None:
    """Each PI is SIMC's for its own path, which it controls well alone; together they turn in a circle."""
    plant = TwoByTwo(interaction=(1.2, -1.2), time_constants=((20.0, 20.0),) * 2, dead_times=(5, 5))
    each = MatrixPI(gain=((2, 0), (0, 2)), integral=((0.1, 0), (0, 0.1)), tracking_time=20)
    alone = plant.model_copy(update={"interaction": (0.0, 0.0)})
    together = law_for(plant, tolerances=(0.3, 0.3), integral_time=20.0, noise=(0.03, 0.03))
    swings = [
        np.ptp(simulate(law, real, ticks=600, setpoint=(1.0, 0.0), low=-3.0, high=3.0).reading[-200:], axis=0)
        for law, real in ((each, alone), (each, plant), (together, plant))
    ]
    assert swings[0].max() < 1e-3
    assert swings[1].min() > 2
    assert swings[2].max() < 1e-3
