"""PID against scipy's continuous-time responses, and its promises about limits, bumps and rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import given as ranging
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import signal

from homeostat.laws import PID, Input
from homeostat.simulation import FirstOrder, simulate
from tests.laws.steps import commands, given

# Far from underflow, where scaling by a power of two is no longer exact.
moderate = st.integers(-(2**20), 2**20).map(lambda i: i / 1024)


def path(law: PID, ticks: list[int], readings: np.ndarray, setpoints: np.ndarray) -> np.ndarray:
    """Commands at irregular `ticks`, the first at ticks[0], the knob following without limits."""
    state, admitted, out, last = law.init(), 0.0, [], ticks[0] - 1
    for i, tick in enumerate(ticks):
        now = Input((readings[tick],), (setpoints[tick],), (admitted,), (i == 0,), tick - last)
        (admitted,), state, _ = law.update(state, now)
        out.append(admitted)
        last = tick
    return np.array(out)


def exact(law: PID, ticks: list[int], readings: np.ndarray, setpoints: np.ndarray) -> np.ndarray:
    """The continuous law's response to straight lines between the decisions, by scipy, from rest at ticks[0]."""
    k, ti, td, n, b = law.gain, law.integral_time, law.derivative_time, law.derivative_filter, law.setpoint_weight
    fine = np.arange(ticks[0], ticks[-1] + 1, dtype=float)
    y = np.interp(fine, ticks, readings[ticks])
    r = np.interp(fine, ticks, setpoints[ticks])
    t = fine - fine[0]
    integral = signal.lsim(([k / ti], [1, 0]), r - y, t)[1]
    # The filtered derivative starts from rest at the first reading.
    derivative = -k * signal.lsim(([td, 0], [td / n, 1]), y - y[0], t)[1]
    whole = k * (b * (r - r[0]) - (y - y[0])) + integral + derivative
    return whole[(np.array(ticks) - ticks[0])]


@pytest.mark.parametrize(
    "ticks", [list(range(40)), [0, 1, 2, 7, 8, 20, 21, 39, 59], list(range(3, 60, 7))], ids=["even", "odd", "sparse"]
)
@pytest.mark.parametrize("weight", [1.0, 0.3, 0.0])
def test_follows_the_continuous_law_at_any_spacing(ticks: list[int], weight: float) -> None:
    rng = np.random.default_rng(3)
    readings, setpoints = rng.normal(size=60).cumsum(), rng.normal(size=60)
    law = PID(gain=0.7, integral_time=12, derivative_time=5, derivative_filter=4, setpoint_weight=weight)
    np.testing.assert_allclose(
        path(law, ticks, readings, setpoints), exact(law, ticks, readings, setpoints), rtol=1e-9, atol=1e-9
    )


def test_pi_equals_the_bilinear_filter() -> None:
    readings = np.random.default_rng(5).normal(size=300)
    law = PID(gain=2.0, integral_time=9.0)
    b, a = signal.bilinear([2.0 * 9.0, 2.0], [9.0, 0.0], fs=1)
    error = -readings
    # The law's first command is the knob's position, 0, whatever the first error.
    expected, _ = signal.lfilter(b, a, error, zi=[-b[0] * error[0]])
    np.testing.assert_allclose(commands(law, readings), expected, rtol=1e-9, atol=1e-9)


def test_first_command_is_the_admitted_position() -> None:
    law = PID(gain=-3.1, integral_time=7, derivative_time=2)
    decision = law.update(law.init(), given(0.37, 1.91, 0.123456789, moved=True, elapsed=5))
    assert decision.command == (0.123456789,)
    assert decision.terms["P"] + decision.terms["I"] == pytest.approx(0.123456789, abs=1e-12)


@ranging(moderate, moderate, moderate, st.integers(1, 50))
def test_a_moved_knob_is_taken_from_where_it_is(reading: float, setpoint: float, found: float, elapsed: int) -> None:
    law = PID(gain=0.5, integral_time=10)
    state = law.update(law.init(), given(reading, setpoint, 1.0, moved=True)).state
    same = law.update(state, given(reading, setpoint, found, moved=True, elapsed=elapsed)).command[0]
    increment = 0.5 * (setpoint - reading) * elapsed / 10
    assert same == pytest.approx(found + increment, rel=1e-9, abs=1e-9)


TUNINGS = [
    {"gain": 0.5, "integral_time": 10},
    {"gain": -4.0, "integral_time": 3, "setpoint_weight": 0.25, "derivative_time": 2},
    {"gain": 2.0, "integral_time": 50, "dead_band": 0.125, "tracking_time": 4},
    {"gain": 8.0},
]


@ranging(st.lists(moderate, min_size=1, max_size=8), moderate, st.sampled_from(TUNINGS), st.sampled_from(TUNINGS))
def test_a_law_re_tuned_departs_from_the_last_command(
    readings: list[float], setpoint: float, old: dict[str, float], new: dict[str, float]
) -> None:
    """At an unchanged reading by the new increments of I and D alone: P does not jump with its gain."""
    law, other = PID(**old), PID(**new)
    assume(abs(setpoint - readings[-1]) > max(law.dead_band, other.dead_band))
    state, admitted = law.init(), 1.0
    for i, reading in enumerate([*readings, readings[-1]]):
        state = law.update(state, given(reading, setpoint, admitted, moved=i == 0)).state
        admitted = state.command
    error = setpoint - readings[-1]
    beyond = error - np.copysign(other.dead_band, error)
    increment = other.gain * beyond / other.integral_time if other.integral_time else 0.0
    after = other.update(state, given(readings[-1], setpoint, admitted))
    scale = max(1.0, abs(admitted), *(abs(g * x) for g in (law.gain, other.gain) for x in (setpoint, *readings)))
    expected = admitted + increment + after.terms["D"] - state.derivative
    assert after.command[0] == pytest.approx(expected, abs=1e-9 * scale)


def test_proportional_law_acts_about_the_position_found() -> None:
    law = PID(gain=2.0)
    first = law.update(law.init(), given(0.5, 1.0, 10.0, moved=True))
    assert first.command == (11.0,)
    held_by_a_limit = law.update(first.state, given(0.5, 1.0, 10.2))
    assert held_by_a_limit.command == (11.0,)
    turned_by_hand = law.update(first.state, given(0.5, 1.0, 20.0, moved=True))
    assert turned_by_hand.command == (20.0,)


@ranging(st.lists(st.floats(-0.999, 0.999), min_size=1, max_size=20), moderate)
def test_nothing_moves_inside_the_dead_band(errors: list[float], start: float) -> None:
    law = PID(gain=5.0, integral_time=3.0, derivative_time=2.0, dead_band=1.0)
    assert commands(law, errors, start=start) == [start] * len(errors)


def test_leaving_the_dead_band_unwinds_nothing() -> None:
    law = PID(gain=1.0, integral_time=10.0, tracking_time=1000.0, dead_band=0.5)
    state = law.init()
    for i in range(50):  # far above the limit of 1
        state = law.update(state, given(-5.0, 0.0, min(1.0, state.command or 0.0), moved=i == 0)).state
    assert state.command > 1.0
    state = law.update(state, given(-0.4, 0.0, 1.0)).state
    assert state.command == 1.0
    (command,), _, _ = law.update(state, given(0.6, 0.0, 1.0))
    assert command < 1.0


@ranging(st.integers(1, 400), st.floats(0.01, 100), st.sampled_from([1, 3, 10]))
def test_leaves_a_limit_when_the_error_changes_sign(held: int, wrong: float, every: int) -> None:
    """However long it was saturated, at most one integral time later the knob is off the limit."""
    law = PID(gain=1.0, integral_time=30.0)
    state, admitted = law.init(), 0.0
    for i in range(held):
        state = law.update(state, given(-wrong, 0.0, admitted, moved=i == 0, elapsed=every)).state
        admitted = min(1.0, state.command)
    for _ in range(30 // every + 1):
        state = law.update(state, given(wrong, 0.0, admitted, elapsed=every)).state
        admitted = min(1.0, state.command)
    assert admitted < 1.0


@ranging(st.floats(0.01, 100), st.floats(0.001, 100), st.sampled_from([1, 3, 10]))
def test_a_settled_saturation_ends_with_the_first_error_of_the_other_sign(
    wrong: float, back: float, every: int
) -> None:
    """To second order in the spacing of decisions, as the docstring says."""
    law = PID(gain=2.0, integral_time=15.0)
    back += wrong * (every / 15) ** 2 / 12
    state, admitted = law.init(), 0.0
    for i in range(450 // every):
        state = law.update(state, given(-wrong, 0.0, admitted, moved=i == 0, elapsed=every)).state
        admitted = min(1.0, state.command)
    assert law.update(state, given(back, 0.0, admitted, elapsed=every)).command[0] < 1.0


@pytest.mark.parametrize(("tracking_time", "time"), [(None, 20.0), (5.0, 5.0)])
def test_what_a_limit_took_flows_back_with_the_tracking_time(tracking_time: float | None, time: float) -> None:
    law = PID(gain=2.0, integral_time=20.0, tracking_time=tracking_time)
    state = law.update(law.init(), given(1.0, 1.0, 0.0, moved=True)).state
    state = law.update(state, given(1.0, 1.0, 6.0, moved=True)).state
    # At no error, so that only what flows back moves the integral: from 6 towards a limit at 2.
    decision = law.update(state, given(1.0, 1.0, 2.0, elapsed=3))
    assert decision.command[0] == pytest.approx(2.0 + 4.0 * np.exp(-3 / time), rel=1e-12)


def test_only_the_error_beyond_the_dead_band_counts() -> None:
    errors = np.array([0.0, 1.5, 3.0, 0.5, -1.25, 0.2])
    shrunk = np.array([0.0, 0.5, 2.0, 0.0, -0.25, 0.0])
    with_band = commands(PID(gain=1.0, integral_time=4, dead_band=1.0), -errors)
    without = commands(PID(gain=1.0, integral_time=4), -shrunk)
    assert with_band[:3] == without[:3]
    assert with_band[3] == with_band[2]
    assert with_band[5] == with_band[4]
    # P of the present error, and the trapezoids of the three decisions outside the band.
    assert with_band[4] == pytest.approx(-0.25 + (0.5 / 2 + (0.5 + 2.0) / 2 - 0.25 / 2) / 4)


def velocity_form(gain: float, integral_time: float, plant: FirstOrder, setpoint: float, ticks: int) -> np.ndarray:
    """The form this library does not use: increments of the delivered position."""
    noise = np.random.default_rng(0).standard_normal(ticks)
    state, knob, last, knobs = plant.init(), 100.0, None, []
    for i in range(ticks):
        error = setpoint - plant.read(state, noise[i])
        if last is not None:
            knob = min(350.0, max(16.0, knob + gain * (error - last + error / integral_time)))
        last = error
        state = plant.step(state, knob)
        knobs.append(knob)
    return np.array(knobs)


def test_averages_at_the_limit_where_the_velocity_form_does_not() -> None:
    plant = FirstOrder(gain=0.01, time_constant=20, dead_time=2, noise=0.5)
    law = PID(gain=20, integral_time=20)
    ours = simulate(law, plant, setpoint=4.0, ticks=4000, start=100, low=16, high=350).admitted[1000:].mean()
    theirs = velocity_form(20, 20, plant, 4.0, 4000)[1000:].mean()
    assert 348.5 < ours <= 350
    assert theirs < 345


def test_moves_a_knob_in_steps_of_sixteen() -> None:
    plant = FirstOrder(gain=0.01, time_constant=20, dead_time=2)
    law = PID(gain=50, integral_time=20)
    run = simulate(law, plant, setpoint=2.5, ticks=1000, start=112, low=16, high=512, quantum=16)
    assert set(np.mod(run.delivered, 16)) == {0.0}
    assert np.abs(np.diff(run.delivered)).sum() >= 128
    # Between two steps the knob hunts: the mean is right and the reading stays within one step.
    assert run.delivered[-500:].mean() == pytest.approx(250, abs=2)
    assert np.abs(run.reading[-500:] - 2.5).max() < 0.16


def test_reaches_the_setpoint_and_rejects_a_disturbance() -> None:
    plant = FirstOrder(gain=2.0, time_constant=50, dead_time=5, offset=-1.0)
    law = PID(gain=1.5, integral_time=40, derivative_time=3)
    run = simulate(law, plant, setpoint=1.0, ticks=600)
    assert np.abs(run.reading[-100:] - 1.0).max() < 1e-3
    assert run.reading.max() < 1.5


def test_log_error_is_relative() -> None:
    law = PID(gain=0.3, integral_time=10, log_error=True)
    readings = np.exp(np.random.default_rng(1).normal(size=50))
    small = commands(law, readings * 1e-6, setpoint=1e-6)
    large = commands(law, readings * 1e3, setpoint=1e3)
    np.testing.assert_allclose(small, large, rtol=1e-9, atol=1e-9)


def test_a_reading_without_logarithm_holds_the_knob() -> None:
    law = PID(gain=0.3, integral_time=10, log_error=True)
    before = law.update(law.init(), given(0.0, 1.0, 0.7, moved=True))
    assert before.command == (0.7,)
    assert before.state == law.init()
    running = law.update(before.state, given(0.5, 1.0, 0.7, moved=True)).state
    for reading, setpoint in [(0.0, 1.0), (-3.0, 1.0), (1.0, 0.0)]:
        decision = law.update(running, given(reading, setpoint, 0.7))
        assert decision.command == (0.7,)
        assert decision.state == running._replace(gap=1)


def test_the_derivative_is_taken_over_the_readings_without_logarithm() -> None:
    law = PID(gain=0.3, integral_time=10, derivative_time=5, log_error=True)
    state = law.update(law.init(), given(1.0, 1.0, 0.7, moved=True)).state
    for _ in range(3):
        state = law.update(state, given(0.0, 1.0, 0.7)).state
    over_the_gap = law.update(state, given(2.0, 1.0, 0.7))
    at_once = law.update(state._replace(gap=0), given(2.0, 1.0, 0.7, elapsed=4))
    assert over_the_gap.terms["D"] == at_once.terms["D"]
    assert over_the_gap.state.gap == 0


@ranging(st.lists(moderate, min_size=1, max_size=30), moderate, moderate)
def test_mirrored_input_gives_the_mirrored_command(readings: list[float], setpoint: float, start: float) -> None:
    law = PID(gain=0.7, integral_time=11, derivative_time=2, setpoint_weight=0.5, dead_band=0.1)
    plain = commands(law, readings, start=start, setpoint=setpoint)
    mirrored = commands(law, [-r for r in readings], start=-start, setpoint=-setpoint)
    assert mirrored == [-c for c in plain]


@ranging(st.lists(moderate, min_size=1, max_size=30), moderate, st.sampled_from([-6, -1, 3, 10]))
def test_units_do_not_matter(readings: list[float], setpoint: float, power: int) -> None:
    scale = 2.0**power  # a power of two, so that equality is exact
    law = PID(gain=0.5, integral_time=11, derivative_time=2)
    other = PID(gain=0.5 / scale, integral_time=11, derivative_time=2)
    assert commands(law, readings, setpoint=setpoint) == commands(
        other, [r * scale for r in readings], setpoint=setpoint * scale
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"gain": 0},
        {"gain": float("nan")},
        {"gain": 1, "integral_time": 0},
        {"gain": 1, "tracking_time": 5},
        {"gain": 1, "derivative_time": -1},
        {"gain": 1, "dead_band": -0.1},
        {"gain": 1, "setpoint_weight": 2},
    ],
)
def test_refuses_nonsense(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        PID(**fields)
