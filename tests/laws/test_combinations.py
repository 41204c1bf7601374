"""Laws made of laws: what they promise beyond their members, on plants with more than one reading."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from homeostat.laws import (
    PID,
    Affine,
    Cascade,
    Chain,
    FeedForward,
    GainSchedule,
    Hold,
    Input,
    Law,
    LogIntegrator,
    MatrixPI,
    Median,
    Select,
    SlewLimit,
    SmithPredictor,
)
from homeostat.profile import Profile
from homeostat.simulation import AnyPlant, FirstOrder, simulate
from tests.laws.steps import given


class InSeries(AnyPlant):
    """A fast lag that the knob and, from tick 200, a load act on, and a slow lag after it: readings (slow, fast)."""

    load: float = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        return 2, 1

    def init(self) -> tuple[int, float, float]:
        return 0, 0.0, 0.0

    def observe(self, state: tuple[int, float, float], noise: tuple[float, ...]) -> tuple[float, ...]:
        del noise
        return state[1:]

    def advance(self, state: Any, knobs: tuple[float, ...], noise: tuple[float, ...]) -> tuple[int, float, float]:
        del noise
        tick, slow, fast = state
        goal = knobs[0] + (self.load if tick >= 200 else 0.0)
        return tick + 1, slow - math.expm1(-1 / 60) * (fast - slow), fast - math.expm1(-1 / 4) * (goal - fast)


class OneKnobTwoReadings(AnyPlant):
    """Both readings follow the knob at once, the second twice as far."""

    @property
    def shape(self) -> tuple[int, int]:
        return 2, 1

    def init(self) -> float:
        return 0.0

    def observe(self, state: float, noise: tuple[float, ...]) -> tuple[float, ...]:
        del noise
        return state, 2 * state

    def advance(self, state: float, knobs: tuple[float, ...], noise: tuple[float, ...]) -> float:
        del state, noise
        return knobs[0]


class MeasuredDisturbance(InSeries):
    """The slow reading is the only one that is steered; the second is the load itself, as it acts."""

    def observe(self, state: tuple[int, float, float], noise: tuple[float, ...]) -> tuple[float, ...]:
        del noise
        return state[1], self.load if state[0] >= 200 else 0.0


def reading_alone(law: Law, plant: InSeries, ticks: int, setpoint: float) -> np.ndarray:
    """The slow reading under a law that sees nothing else."""
    blind = FeedForward(feedback=law, forward=Affine(gain=0.0))
    return simulate(blind, plant, ticks=ticks, setpoint=(setpoint, 0.0)).reading[:, 0]


STEADY = PID(gain=4.0, integral_time=60)


class TestCascade:
    law = Cascade(outer=STEADY, inner=PID(gain=2.0, integral_time=4))

    def test_a_load_in_the_fast_loop_hardly_reaches_the_slow_reading(self) -> None:
        plant = InSeries(load=-5.0)
        both = simulate(self.law, plant, ticks=900, setpoint=(1.0, 0.0)).reading[:, 0]
        alone = reading_alone(STEADY, plant, 900, 1.0)
        assert abs(both[-1] - 1.0) < 1e-3
        assert abs(both[200:] - 1).max() < abs(alone[200:] - 1).max() / 3

    @pytest.mark.parametrize("saturated", [100, 5000])
    def test_the_outer_law_does_not_wind_up_behind_an_inner_one_at_its_limit(self, saturated: int) -> None:
        goal = Profile(points=((0, 3.0), (saturated, 0.5)), interpolation="step")
        run = simulate(self.law, InSeries(), ticks=saturated + 400, setpoint=(goal, 0.0), low=-1.0, high=1.0)
        assert run.admitted[saturated - 1, 0] == 1.0
        after = run.admitted[saturated:, 0]
        assert np.flatnonzero(after < 1.0)[0] <= 2
        assert abs(run.reading[-1, 0] - 0.5) < 0.01

    def test_the_inner_setpoint_starts_where_the_loop_says_and_keeps_its_limits(self) -> None:
        law = Cascade(outer=PID(gain=50.0, integral_time=5), inner=PID(gain=2.0, integral_time=4), low=-0.5, high=2.0)
        inner_setpoints, state, knob = [], law.init(), 0.3
        for i in range(50):
            decision = law.update(state, Input((0.0, 0.0), (1.0, 0.7), (knob,), (i == 0,), 1))
            state, knob = decision.state, decision.command[0]
            inner_setpoints.append(decision.terms["setpoint"])
        assert inner_setpoints[0] == 0.7
        assert max(inner_setpoints) == 2.0

    def test_refuses_what_it_cannot_join(self) -> None:
        wide = MatrixPI(gain=((1.0, 1.0),), integral=((1.0, 1.0),), tracking_time=1)
        with pytest.raises(ValidationError, match="one reading"):
            Cascade(outer=wide, inner=STEADY)
        with pytest.raises(ValidationError, match="follow a setpoint"):
            Cascade(outer=STEADY, inner=Hold())
        with pytest.raises(ValidationError, match="below Cascade"):
            Cascade(outer=STEADY, inner=STEADY, low=1, high=1)


class TestSelect:
    law = Select(laws=(PID(gain=0.2, integral_time=4), PID(gain=0.2, integral_time=4)))

    def test_the_law_whose_limit_binds_has_its_way_and_gives_it_back(self) -> None:
        cap = Profile(points=((0, 6.0), (1000, 20.0), (2000, 8.0)), interpolation="step")
        run = simulate(self.law, OneKnobTwoReadings(), ticks=2500, setpoint=(5.0, cap))
        assert run.reading[999] == pytest.approx([3.0, 6.0], abs=1e-3)
        assert run.reading[1999] == pytest.approx([5.0, 10.0], abs=1e-3)
        assert run.reading[2499] == pytest.approx([4.0, 8.0], abs=1e-3)
        # The loser has not wound up in a thousand ticks: it takes over at the pace of its own loop, 24 ticks.
        alone = simulate(
            self.law.laws[0], FirstOrder(time_constant=1e-3, level=3.0), ticks=200, setpoint=5.0, start=3.0
        )
        assert abs(run.reading[1001:1200, 0] - alone.reading[1:]).max() < 0.5

    def test_the_winner_is_told(self) -> None:
        given_ = Input((0.0, 9.0), (5.0, 6.0), (1.0,), (True,), 1)
        laws = (PID(gain=1.0), PID(gain=1.0))
        low, high = (
            Select(laws=laws, choose=how).update(((PID(gain=1.0).init(),) * 2), given_) for how in ("lowest", "highest")
        )
        assert (low.command, low.terms["chosen"]) == ((-2.0,), 1.0)
        assert (high.command, high.terms["chosen"]) == ((6.0,), 0.0)

    def test_refuses_a_law_of_several_commands(self) -> None:
        with pytest.raises(ValidationError, match="one command each"):
            Select(laws=(Hold(), MatrixPI(gain=((1.0,), (1.0,)), integral=((1.0,), (1.0,)), tracking_time=1)))


class TestFeedForward:
    def test_a_measured_load_is_gone_before_it_shows(self) -> None:
        plant = MeasuredDisturbance(load=-5.0)
        law = FeedForward(feedback=STEADY, forward=Affine(gain=-1.0))
        run = simulate(law, plant, ticks=900, setpoint=(1.0, 0.0))
        alone = reading_alone(STEADY, plant, 900, 1.0)
        undisturbed = reading_alone(STEADY, MeasuredDisturbance(), 900, 1.0)
        assert abs(alone - undisturbed).max() > 0.5
        np.testing.assert_allclose(run.reading[:, 0], undisturbed, atol=1e-9)

    def test_it_starts_without_a_bump_whatever_the_disturbance(self) -> None:
        law = FeedForward(feedback=STEADY, forward=Affine(gain=3.0, offset=2.0))
        first = law.update(law.init(), Input((0.4, 100.0), (1.0, 0.0), (0.7,), (True,), 10))
        assert first.command == (0.7,)
        same = law.update(first.state, Input((1.0, 101.0), (1.0, 0.0), (0.7,), (True,), 1))
        assert same.terms["forward"] == pytest.approx(3.0)

    def test_a_limit_is_seen_by_feedback_without_what_was_added(self) -> None:
        law, knob = FeedForward(feedback=STEADY, forward=Affine(gain=1.0)), 0.0
        state = law.init()
        for i in range(3000):
            disturbance = 0.0 if i == 0 else 4.0
            state = law.update(state, Input((0.0, disturbance), (1.0, 0.0), (knob,), (i == 0,), 1)).state
            knob = min(1.0, state.feedback.command + state.answer - state.start)
        # The feedback law stands where the knob does less what is added, and turns with the first error.
        (command,) = law.update(state, Input((2.5, 4.0), (1.0, 0.0), (knob,), (False,), 1)).command
        assert command < 1.0

    def test_a_forward_law_goes_on_from_its_own_last_answer(self) -> None:
        law = FeedForward(feedback=Hold(), forward=SlewLimit(rate=0.25))
        state, added = law.init(), []
        for i, disturbance in enumerate([0.125, 0.125, 9.0, 9.0, 9.0, -9.0]):
            decision = law.update(state, Input((0.0, disturbance), (), (7.0,), (i == 0,), 1))
            state = decision.state
            added.append(decision.terms["forward"])
        assert added == [0.0, 0.0, 0.25, 0.5, 0.75, 0.5]

    def test_refuses_what_it_cannot_add(self) -> None:
        with pytest.raises(ValidationError, match="without a setpoint"):
            FeedForward(feedback=STEADY, forward=STEADY)
        with pytest.raises(ValidationError, match="one command"):
            FeedForward(feedback=MatrixPI(gain=((1,), (1,)), integral=((1,), (1,)), tracking_time=1), forward=Affine())


class TestGainSchedule:
    law = GainSchedule(points=((0.0, PID(gain=1.0, integral_time=10)), (4.0, PID(gain=3.0, integral_time=50))))

    @pytest.mark.parametrize(("value", "gain", "time"), [(-1, 1, 10), (0, 1, 10), (1, 1.5, 20), (4, 3, 50), (9, 3, 50)])
    def test_fields_are_interpolated_and_held_beyond_the_ends(self, value: float, gain: float, time: float) -> None:
        assert self.law.at(value) == PID(gain=gain, integral_time=time)

    def test_a_change_of_gains_moves_nothing_by_itself(self) -> None:
        state, knob = self.law.init(), 2.0
        for i, scheduling in enumerate([0.0, 0.0, 4.0, -3.0, 2.0, 2.0]):
            before, rate = knob, self.law.at(scheduling)
            decision = self.law.update(state, Input((0.7, scheduling), (1.0, 0.0), (knob,), (i == 0,), 1))
            state, knob = decision.state, decision.command[0]
            if i:
                assert knob - before == pytest.approx(rate.gain * 0.3 / rate.integral_time)

    @pytest.mark.parametrize(
        ("laws", "match"),
        [
            ((PID(gain=1.0), LogIntegrator(exponent=1)), "one kind"),
            ((PID(gain=1.0), PID(gain=1.0, integral_time=5)), "differ in numbers only"),
            ((PID(gain=1.0), PID(gain=1.0, log_error=True)), "differ in numbers only"),
            ((Chain(laws=(Median(window=3),)), Chain(laws=(Median(window=5),))), "differ in numbers only"),
            ((PID(gain=1.0), PID(gain=-1.0)), "got gain 1 and -1, which passes 0"),
            ((LogIntegrator(exponent=-1.0), LogIntegrator(exponent=1.0)), "got exponent -1 and 1, which passes 0"),
        ],
    )
    def test_refuses_what_cannot_be_interpolated(self, laws: tuple[Law, Law], match: str) -> None:
        with pytest.raises(ValidationError, match=match):
            GainSchedule(points=tuple(enumerate(laws)))
        with pytest.raises(ValidationError, match="must rise"):
            GainSchedule(points=((1.0, laws[0]), (1.0, laws[0])))


class TestSmithPredictor:
    inner = PID(gain=4.0, integral_time=10)

    def law(self, dead_time: int = 8) -> SmithPredictor:
        return SmithPredictor(law=self.inner, gain=2.0, time_constant=10, dead_time=dead_time)

    @pytest.mark.parametrize("every", [1, 3, 20])
    def test_with_the_true_model_the_loop_is_the_one_without_dead_time_later(self, every: int) -> None:
        late, free = (FirstOrder(gain=2.0, time_constant=10, dead_time=dead_time) for dead_time in (8, 0))
        with_dead_time = simulate(self.law(), late, ticks=200, setpoint=1.0, every=every)
        without = simulate(self.inner, free, ticks=200, setpoint=1.0, every=every)
        np.testing.assert_allclose(with_dead_time.command, without.command, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(with_dead_time.reading[8:], without.reading[:-8], rtol=1e-9, atol=1e-9)

    def test_the_inner_law_alone_does_not_settle(self) -> None:
        plant = FirstOrder(gain=2.0, time_constant=10, dead_time=8)
        assert abs(simulate(self.inner, plant, ticks=200, setpoint=1.0).reading[-50:] - 1).max() > 10
        assert abs(simulate(self.law(), plant, ticks=200, setpoint=1.0).reading[-50:] - 1).max() < 1e-6

    def test_a_wrong_offset_leaves_no_lasting_error(self) -> None:
        plant = FirstOrder(gain=1.6, time_constant=13, dead_time=8, offset=-3.0)
        assert simulate(self.law(), plant, ticks=600, setpoint=1.0).reading[-1] == pytest.approx(1.0, abs=1e-4)

    def test_a_long_gap_forgets_what_is_older_than_the_dead_time(self) -> None:
        law = self.law(dead_time=3)
        state = law.update(law.init(), given(0.0, 1.0, 0.0, moved=True)).state
        state = law.update(state, given(0.0, 1.0, 5.0, elapsed=1000)).state
        assert len(state.levels) == 4
        assert state.levels == pytest.approx((10.0,) * 4)

    def test_refuses_a_law_that_is_not_scalar(self) -> None:
        wide = MatrixPI(gain=((1.0, 1.0),), integral=((1.0, 1.0),), tracking_time=1)
        with pytest.raises(ValidationError, match="one reading"):
            SmithPredictor(law=wide, gain=1, time_constant=1, dead_time=1)
