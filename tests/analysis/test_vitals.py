"""What the vitals say of loops whose state is known, online and recorded, whatever the units."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from homeostat import CoupledLoop, Homeostat, Loop, Record, Trace
from homeostat.actuators import LearningRate
from homeostat.analysis import Course, Frame, loop_vitals, run_vitals
from homeostat.analysis.vitals import frame, joined
from homeostat.analysis.vitals_course import course_of_columns, course_of_records
from homeostat.errors import HomeostatError
from homeostat.laws import (
    PID,
    Affine,
    Cascade,
    Chain,
    DeadBand,
    FeedForward,
    GainSchedule,
    Hold,
    Law,
    LogIntegrator,
    Ultrastable,
)
from homeostat.observers import Loss, UpdateRatio
from homeostat.profile import Profile
from homeostat.simulation import Disturbed, FirstOrder, LoadStep, SimulatedRun, simulate
from homeostat.sinks import JsonLines, read_run
from homeostat.trace import LoopVitals, Vitals

NAN = (math.nan,) * 7


def course(run: SimulatedRun) -> Course:
    n = len(run.reading)
    columns = (run.reading, run.setpoint, run.delivered)
    return Course(np.arange(n, dtype=float), *(c.reshape(n, -1) for c in columns), np.zeros(n, dtype=bool))


def readings(errors: np.ndarray, setpoint: float = 1.0) -> Course:
    """One reading a tick, `errors` under its setpoint; the knob stands still."""
    n = len(errors)
    goal = np.full((n, 1), setpoint)
    return Course(np.arange(n, dtype=float), goal - errors[:, None], goal, np.zeros((n, 1)), np.zeros(n, dtype=bool))


def noise(n: int = 200, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n)


def regulated(seed: int, goal: float | Profile = 0.0) -> SimulatedRun:
    plant = FirstOrder(time_constant=10, dead_time=2, noise=0.1)
    return simulate(PID(gain=1.0, integral_time=10), plant, ticks=200, setpoint=goal, seed=seed)


class TestDisturbance:
    """The larger a disturbance, the lower the index; one that nothing answers is the worst."""

    SIZES = (0.0, 0.3, 1.0, 3.0, 10.0, 100.0, 1000.0)

    def judged(self, disturbance: np.ndarray, seed: int) -> list[float]:
        run = regulated(seed)
        loops = [loop_vitals(course(run._replace(reading=run.reading + s * disturbance)), Frame()) for s in self.SIZES]
        return [joined(200, {"a": one, "b": loops[0]}).homeostasis for one in loops]

    @pytest.mark.parametrize("seed", range(5))
    def test_a_step_at_the_plant_s_output(self, seed):
        """What a linear loop leaves of it is the error after the same step of the setpoint."""
        quiet = FirstOrder(time_constant=10, dead_time=2)
        step = Profile(points=((0, 0.0), (100, 1.0)), interpolation="step")
        answer = simulate(PID(gain=1.0, integral_time=10), quiet, ticks=200, setpoint=step)
        found = self.judged(answer.setpoint - answer.reading, seed)
        assert found == sorted(found, reverse=True)
        assert found[0] > 0.97
        # The loop is back after some 25 of the 200 ticks; that another loop is well is no comfort for half of it.
        assert found[-1] < 0.9

    def test_a_load_on_the_plant(self):
        """On average: in a single run, a load that is lost in the noise may take an outlier back into the band."""
        found = []
        for size in self.SIZES:
            plant = FirstOrder(time_constant=10, dead_time=2, noise=0.1)
            loaded = Disturbed(plant=plant, disturbances=(LoadStep(at=100, size=size),))
            law = PID(gain=1.0, integral_time=10)
            runs = [simulate(law, loaded, ticks=200, setpoint=0.0, seed=seed) for seed in range(10)]
            found.append(np.mean([loop_vitals(course(run), Frame()).regulation for run in runs]))
        assert found == sorted(found, reverse=True)
        assert found[0] > 0.99
        assert found[-1] < 0.8

    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("period", [7, 40])
    def test_a_cycle(self, period, seed):
        found = self.judged(np.sin(2 * np.pi * np.arange(200) / period), seed)
        assert found == sorted(found, reverse=True)
        assert found[-1] < 0.4

    @pytest.mark.parametrize("seed", range(5))
    def test_a_drift(self, seed):
        found = self.judged(np.linspace(0, 1, 200), seed)
        assert found == sorted(found, reverse=True)
        assert found[-1] < 0.1


class TestOneLoop:
    def test_noise_alone_is_homeostasis(self):
        found = loop_vitals(readings(noise(2000)), Frame())
        assert found.regulation > 0.999
        # Of normal noise 0.3 % lies beyond three standard deviations.
        assert found.in_band == pytest.approx(0.9973, abs=0.003)
        assert found.harris > 0.98
        assert (found.oscillation, found.saturation, found.held) == (0, 0, 0)

    def test_an_error_of_k_bands_counts_one_kth(self):
        """A hundred errors of 0 and as many of 8 % of the setpoint; the band is 2 % where there is no noise."""
        found = loop_vitals(readings(np.repeat([0.0, 0.08], 100)), Frame())
        assert found.in_band == 0.5
        assert found.regulation == pytest.approx((1 + 1 / 4) / 2)

    def test_what_is_held_counts_nothing(self):
        errors = 0.001 * noise()
        errors[50:100] = np.nan
        found = loop_vitals(readings(errors), Frame())
        assert (found.held, found.in_band, found.regulation) == (0.25, 0.75, 0.75)
        assert found.harris > 0.8

    def test_all_held_is_the_worst(self):
        found = loop_vitals(readings(np.full(50, np.nan)), Frame())
        assert (found.held, found.regulation) == (1, 0)
        assert math.isnan(found.harris)

    def test_a_loop_without_a_setpoint_counts_what_was_neither_lost_nor_pressed_against_a_limit(self):
        course = readings(np.where(np.arange(100) < 10, np.nan, 5.0))
        course = course._replace(setpoints=np.empty((100, 0)), limited=np.arange(100) >= 80)
        found = loop_vitals(course, Frame())
        assert (found.regulation, found.saturation, found.held) == (0.7, 0.2, 0.1)
        assert all(math.isnan(v) for v in (found.in_band, found.harris, found.oscillation))

    def test_of_several_readings_the_worst_counts(self):
        good, bad = readings(noise()), readings(np.repeat([0.0, 0.08], 100))
        both = good._replace(
            readings=np.hstack([good.readings, bad.readings]), setpoints=np.hstack([good.setpoints, bad.setpoints])
        )
        found, alone = loop_vitals(both, Frame()), loop_vitals(bad, Frame())
        assert found.harris == alone.harris
        assert found.regulation == pytest.approx(alone.regulation, abs=0.01)

    def test_travel_is_in_widths_of_the_range_a_tick(self):
        back_and_forth = np.array([[1.0], [3.0]] * 50)
        found = loop_vitals(readings(noise(100))._replace(delivered=back_and_forth), Frame(spans=((0.0, 4.0, False),)))
        assert found.travel == pytest.approx(0.5)
        found = loop_vitals(readings(noise(100))._replace(delivered=back_and_forth), Frame(spans=((1.0, 9.0, True),)))
        assert found.travel == pytest.approx(0.5)

    def test_an_open_dead_band_and_an_offset_in_the_noise_are_forgiven_but_not_by_the_harris_index(self):
        asleep = loop_vitals(readings(50.0 + noise()), Frame(below=1e9, above=1e9))
        assert asleep.regulation == 1
        assert asleep.harris < 0.001
        off = loop_vitals(readings(2.0 + noise(2000)), Frame())
        assert off.regulation == pytest.approx(0.977, abs=0.01)
        assert off.harris == pytest.approx(1 / 5, abs=0.01)

    def test_few_decisions_are_not_judged(self):
        assert loop_vitals(readings(noise(19)), Frame()) == (19, *[pytest.approx(math.nan, nan_ok=True)] * 7)
        assert loop_vitals(readings(noise(20)), Frame()).regulation > 0

    def test_an_unknown_dead_time_makes_the_harris_index_a_lower_bound(self):
        drifting = noise(2000)
        for t in range(1, len(drifting)):
            drifting[t] += 0.8 * drifting[t - 1]
        found = [loop_vitals(readings(drifting), Frame(), delay=delay).harris for delay in (1, 2, 4)]
        assert found == pytest.approx([1 - 0.8 ** (2 * delay) for delay in (1, 2, 4)], abs=0.06)


class TestFrame:
    def parts(self, law: Law) -> Frame:
        loop = Loop(UpdateRatio(), law, LearningRate(low=0.1, high=10.0), setpoint=1e-2).coupled()
        return frame(loop.model_dump(mode="json"))

    def test_the_law_says_what_it_leaves_alone(self):
        assert self.parts(PID(gain=1.0, dead_band=0.3)) == Frame(below=0.3, above=0.3, spans=((0.1, 10.0, True),))
        chain = Chain(
            laws=(
                DeadBand(below=1.6, above=0.8, rest=0.5, settling=60, log=True),
                PID(gain=1.0, log_error=True, dead_band=0.01),
            )
        )
        assert self.parts(chain)[:4] == (True, 1.6, 0.8, 60)
        assert self.parts(LogIntegrator(exponent=1.0, integral_time=10, dead_band=0.2))[:3] == (True, 0.2, 0.2)
        assert self.parts(Hold())[:4] == (False, 0, 0, math.inf)

    @pytest.mark.parametrize(
        ("law", "below"),
        [
            (FeedForward(feedback=PID(gain=1.0, dead_band=0.1), forward=Affine(gain=2.0)), 0.1),
            (Cascade(outer=PID(gain=1.0, dead_band=0.1), inner=PID(gain=1.0, dead_band=50.0)), 0.1),
            (GainSchedule(points=((0.0, PID(gain=1.0)), (1.0, PID(gain=2.0)))), 0.0),
        ],
    )
    def test_a_reading_that_is_not_held_at_its_setpoint_is_not_judged(self, law, below):
        loop = CoupledLoop(
            observers=(Loss(), Loss(metric="other")), law=law, actuators=(LearningRate(),), setpoints=(1.0, 0.0)
        )
        found = frame(loop.model_dump(mode="json"))
        assert (found.below, found.ignored) == (below, 1)
        one = readings(noise())
        both = one._replace(readings=one.readings @ [[1.0, 100.0]], setpoints=one.setpoints @ [[1.0, 0.0]])
        assert loop_vitals(both, found)[:5] == loop_vitals(one, Frame(below=below, above=below))[:5]
        # Blindness to it holds the loop all the same.
        both.readings[:50, 1] = np.nan
        assert loop_vitals(both, found).held == 0.25

    def test_the_bounds_of_an_ultrastable_loop_are_its_band(self):
        law = Ultrastable(low=(1.0, 100.0), high=(3.0, 101.0), rates=(0.1,), trial=10)
        loop = CoupledLoop(observers=(Loss(), Loss(metric="other")), law=law, actuators=(LearningRate(),))
        found = frame(loop.model_dump(mode="json"))
        away = np.repeat([[2.9, 100.1], [6.0, 100.5], [2.0, 102.5]], 50, axis=0)
        course = readings(np.zeros(150))._replace(readings=away, setpoints=np.empty((150, 0)))
        vitals = loop_vitals(course, found)
        assert vitals.in_band == pytest.approx(1 / 3)
        assert vitals.regulation == pytest.approx((1 + 1 / 4 + 1 / 4) / 3)

    def test_a_dead_band_is_in_the_band(self):
        errors = np.repeat([0.0, 0.5, -0.5], 50)
        course = readings(errors)
        assert loop_vitals(course, Frame()).in_band == pytest.approx(1 / 3)
        assert loop_vitals(course, Frame(below=0.6)).in_band == pytest.approx(2 / 3)
        assert loop_vitals(course, Frame(below=0.6, above=0.6)).in_band == 1
        assert loop_vitals(course, Frame(above=0.6, settling=74)).in_band == pytest.approx((50 + 25 + 50) / 150)

    def test_logarithms_make_half_and_double_alike(self):
        course = readings(np.zeros(60))
        low, high = (course._replace(readings=course.readings * factor) for factor in (0.5, 2.0))
        assert loop_vitals(low, Frame(log=True)).regulation == pytest.approx(0.02 / math.log(2))
        assert loop_vitals(low, Frame(log=True)).regulation == pytest.approx(
            loop_vitals(high, Frame(log=True)).regulation
        )


numbers = st.floats(-1e300, 1e300) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0])


@given(
    arrays(float, (30, 2), elements=numbers), arrays(float, (30, 2), elements=st.floats(-1e300, 1e300)), st.booleans()
)
@settings(max_examples=50)
def test_vitals_are_shares_whatever_was_read(readings, setpoints, log):
    course = Course(np.arange(30.0), readings, setpoints, np.zeros((30, 1)), np.zeros(30, dtype=bool))
    found = loop_vitals(course, Frame(log=log, spans=((-1.0, 1.0, False),)))
    assert found.travel == 0
    assert 0 <= found.regulation <= 1
    for share in (found.in_band, found.harris, found.oscillation):
        assert math.isnan(share) or 0 <= share <= 1


@given(st.integers(-40, 40), st.integers(-40, 40), st.integers(0, 3))
@settings(max_examples=30)
def test_units_do_not_matter(reading, knob, seed):
    one = course(regulated(seed, Profile(points=((0, 0.0), (100, 2.0)), interpolation="step")))
    other = one._replace(
        readings=np.ldexp(one.readings, reading),
        setpoints=np.ldexp(one.setpoints, reading),
        delivered=np.ldexp(one.delivered, knob),
    )
    found = loop_vitals(other, Frame(below=math.ldexp(0.1, reading), spans=((0.0, math.ldexp(8.0, knob), False),)))
    assert found == loop_vitals(one, Frame(below=0.1, spans=((0.0, 8.0, False),)))


class TestAllLoops:
    def of(self, *regulation: float) -> Vitals:
        return joined(7, {str(i): LoopVitals(30, r, r, *NAN[2:]) for i, r in enumerate(regulation)})

    def test_the_index_is_the_geometric_mean(self):
        assert self.of(0.5, 0.02).homeostasis == pytest.approx(0.1)
        assert self.of(1.0, 1.0, math.nan).homeostasis == 1
        assert self.of(1.0, 0.0).homeostasis == 0
        assert self.of(*[1e-3] * 2000).homeostasis == pytest.approx(1e-3)

    def test_loops_that_want_nothing_do_not_make_up_for_one_that_is_lost(self):
        lost, idle = LoopVitals(30, 0.01, 0.0, *NAN[2:]), LoopVitals(30, 1.0, *NAN[1:])
        assert joined(7, {"lost": lost, **{str(i): idle for i in range(10)}}).homeostasis == pytest.approx(0.01)
        assert math.isnan(joined(7, {"idle": idle}).homeostasis)

    def test_nothing_judged_is_no_index(self):
        assert math.isnan(self.of().homeostasis)
        assert math.isnan(self.of(math.nan).homeostasis)


def test_records_and_columns_are_one_course():
    trace = Trace()
    for tick in range(30):
        limits = ("low", "slew") if tick % 3 == 0 else ("held",)
        trace.append(Record(tick, "a", (1.0, tick), (2.0, 3.0), (4.0,), (5.0,), (float(tick),), limits, {}))
    one, other = course_of_records(trace.records("a", 25)), course_of_columns(trace.loop("a"), 25)
    for name in Course._fields:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert one.limited.sum() == 8


def train(folder: Path | None, steps: int) -> Homeostat:
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    loops = [
        Loop(UpdateRatio(), PID(gain=0.5, log_error=True), LearningRate(low=1e-3, high=1e3), setpoint=1e-2, every=1),
    ]
    sinks = [] if folder is None else [JsonLines(folder / "trace.jsonl")]
    homeostat = Homeostat(loops, sinks=sinks, vitals_every=20).attach(model, optimizer)
    for _ in range(steps):
        batch = torch.randn(16, 4)
        loss = (model(batch) - batch.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return homeostat


def test_vitals_are_recorded_less_often_as_a_run_gets_long(tmp_path):
    homeostat = train(tmp_path, steps=460)
    assert [vitals.tick for vitals in homeostat.trace.vitals] == [*range(20, 201, 20), *range(240, 401, 40)]


def test_a_running_system_tells_its_vitals_and_records_them(tmp_path):
    homeostat = train(tmp_path, steps=90)
    now, recent = homeostat.vitals(), homeostat.vitals(last=30)
    recorded = list(homeostat.trace.vitals)
    homeostat.detach()
    assert (now.tick, list(now.loops), recent.loops["learning_rate"].decisions) == (90, ["learning_rate"], 30)
    assert 0 < now.homeostasis == pytest.approx(now.loops["learning_rate"].regulation)
    # The first decision comes at tick 1, so that twenty are there at tick 20.
    assert [vitals.tick for vitals in recorded] == [20, 40, 60, 80]
    run = read_run(tmp_path)
    assert run.vitals == recorded
    assert run_vitals(run, last=30).loops == recent.loops
    assert run_vitals(run).loops == now.loops
    with pytest.raises(ValueError, match="the last 20 decisions or more; got last=19"):
        run_vitals(run, last=19)
    with pytest.raises(HomeostatError, match=r"Homeostat\.vitals must be used between attach and detach"):
        homeostat.vitals()


def test_vitals_wait_until_they_are_asked_for_where_nobody_writes_them_down(tmp_path, monkeypatch):
    worked_out = []
    monkeypatch.setattr("homeostat.analysis.vitals.joined", lambda *args: worked_out.append(args) or joined(*args))
    written = train(tmp_path, steps=90)
    # At tick 0 and four times since.
    assert len(worked_out) == 5
    kept = train(None, steps=90)
    assert len(worked_out) == 5
    assert kept.trace.vitals == kept.trace.vitals == written.trace.vitals
    assert len(worked_out) == 10


def test_vitals_that_are_no_number_come_back_from_disk(tmp_path):
    sink = JsonLines(tmp_path / "trace.jsonl")
    sink.open({"version": 1, "tick": 0, "loops": []})
    sink.write(Vitals(3, math.nan, {"a": LoopVitals(2, *NAN), "b": LoopVitals(30, 0.5, 0.25, *NAN[2:])}))
    sink.close()
    (found,) = read_run(tmp_path).vitals
    assert (found.tick, found.loops["a"].decisions, found.loops["b"][:3]) == (3, 2, (30, 0.5, 0.25))
    assert math.isnan(found.homeostasis)


def test_a_resumed_run_drops_the_vitals_it_does_anew(tmp_path):
    sink = JsonLines(tmp_path / "trace.jsonl")
    for start in (0, 20):
        sink.open({"version": 1, "tick": start, "loops": []})
        for tick in range(start, 40, 10):
            sink.write(Vitals(tick, start / 100, {}))
        sink.close()
    assert [(v.tick, v.homeostasis) for v in read_run(tmp_path).vitals] == [(0, 0), (10, 0), (20, 0.2), (30, 0.2)]
