"""Both experiments: they stay within their authority, end by themselves, and show the plant."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import ValidationError

from homeostat.dynamics.identification import identify
from homeostat.dynamics.recording import Recording
from homeostat.laws import AutoTune, RelayTest, StepTest
from homeostat.simulation import FirstOrder, simulate
from tests.laws.steps import commands, given

RELAY = RelayTest(amplitude=0.4, asymmetry=0.5, warm_up=5, periods=2, longest=300)
STEP = StepTest(amplitude=-0.3, hold=20)
finite = st.floats(allow_nan=False, allow_infinity=False)


@for_all(st.lists(finite, min_size=1, max_size=60), st.floats(-10, 10))
@settings(max_examples=25)
def test_whatever_it_reads_the_relay_keeps_to_its_authority_and_ends(readings, start):
    out = np.array(commands(RELAY, readings + [0.0] * 300, start=start))
    assert set(np.round(out - start, 12)) <= {0.0, 0.4, -0.2}
    assert set(out[:4]) == {start}
    assert set(out[300:]) == {start}


@for_all(st.lists(finite, min_size=61, max_size=100), st.floats(-10, 10))
@settings(max_examples=30)
def test_the_step_goes_out_and_back_on_time(readings, start):
    out = np.array(commands(STEP, readings, start=start))
    np.testing.assert_array_equal(out, np.where(np.arange(len(readings)) // 20 == 1, start - 0.3, start))


@pytest.mark.parametrize("gain", [2.0, -0.5])
@pytest.mark.parametrize("law", [RELAY, STEP], ids=["relay", "step"])
def test_the_record_shows_the_plant(law, gain):
    plant = FirstOrder(gain=gain, time_constant=12, dead_time=4, offset=1.0, level=1.0, noise=0.01 * abs(gain))
    run = simulate(law, plant, ticks=120)
    fit = identify(Recording.of(np.arange(120), run.reading, run.delivered))
    assert fit.model.gain == pytest.approx(gain, rel=0.1)
    assert fit.model.dead_time == pytest.approx(4, abs=1)
    assert fit.intervals["gain"].low < gain < fit.intervals["gain"].high


def test_the_relay_makes_the_reading_swing_about_where_it_was():
    plant = FirstOrder(gain=-3.0, time_constant=10, dead_time=3, offset=5.0, level=5.0)
    run = simulate(RELAY, plant, ticks=150)
    switches = np.flatnonzero(np.diff(run.command))
    # Up, then two whole periods, then back.
    assert len(switches) == 2 + 4 + 0
    assert run.reading[:8] == pytest.approx(5.0)
    swing = run.reading[switches[0] : switches[-1]] - 5.0
    assert swing.min() < -0.2
    assert swing.max() > 0.1


def test_a_symmetric_relay_has_astroms_period():
    """Of an integrator v / s with dead time L and relay +-d without hysteresis: period 4 L, amplitude v d L."""
    law = RelayTest(amplitude=1.0, asymmetry=1.0, warm_up=2, periods=6, hysteresis=0.0)
    slow = FirstOrder(gain=1000.0, time_constant=1e5, dead_time=50)
    run = simulate(law, slow, ticks=1500)
    turns = np.flatnonzero(np.diff(run.command))[2:-2]
    np.testing.assert_allclose(np.diff(turns), 2 * 50, atol=3)
    assert np.abs(run.reading).max() == pytest.approx(0.01 * 50, rel=0.1)


@pytest.mark.parametrize("law", [RELAY, STEP], ids=["relay", "step"])
def test_a_reading_out_of_bounds_ends_it_with_the_knob_back(law):
    law = law.model_copy(update={"low": -1.0, "high": 1.0})
    readings = [0.0] * 25 + [1.5] + [0.0] * 40
    out = commands(law, readings, start=2.0)
    assert out[24] != 2.0
    assert set(out[25:]) == {2.0}


@pytest.mark.parametrize("law", [RELAY, STEP], ids=["relay", "step"])
def test_a_knob_that_somebody_else_moved_is_left_there(law):
    state, admitted = law.init(), 0.0
    for i in range(60):
        stolen = i == 30
        admitted = 9.0 if stolen else admitted
        (admitted,), state, terms = law.update(state, given(0.0, admitted=admitted, moved=i == 0 or stolen))
        assert i < 30 or (admitted == 9.0 and terms["aborted"] == 1.0)


@pytest.mark.parametrize("law", [RELAY, STEP, AutoTune(test=RELAY)], ids=["relay", "step", "auto-tuning"])
def test_under_a_slew_limit_the_knob_goes_all_the_way_back(law):
    """Out of bounds the test ends while the knob is away; what is moved after that is left where it was put."""
    experiment = (law.test if isinstance(law, AutoTune) else law).model_copy(update={"high": 1.0})
    law = law.model_copy(update={"test": experiment}) if isinstance(law, AutoTune) else experiment
    state, knob, stood = law.init(), 2.0, []
    for i in range(60):
        (command,), state, _ = law.update(state, given(5.0 if i == 25 else 0.0, 0.0, knob, moved=i in {0, 50}))
        knob = min(max(command, knob - 0.05), knob + 0.05) if i != 49 else 7.0
        stood.append(knob)
    assert abs(stood[24] - 2.0) > 0.1
    assert stood[40:49] == [2.0] * 9
    assert stood[49:] == [7.0] * 11


def test_a_plant_that_does_not_answer_ends_the_relay_at_its_longest():
    out = np.array(commands(RELAY, [1.0] * 400))
    # The warm-up, whose first decision is tick 0, is part of the longest.
    np.testing.assert_array_equal(np.flatnonzero(out), np.arange(4, 300))


@pytest.mark.parametrize(
    "make",
    [
        lambda: RelayTest(amplitude=0.0),
        lambda: RelayTest(amplitude=1.0, low=1.0, high=0.0),
        lambda: StepTest(amplitude=0.0, hold=5),
        lambda: StepTest(amplitude=1.0, hold=5, low=1.0, high=1.0),
    ],
)
def test_nonsense_is_refused(make):
    with pytest.raises(ValidationError):
        make()
