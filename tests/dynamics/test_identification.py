"""Plants are found again, their intervals hold what they claim, and data without information are refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from homeostat.dynamics.identification import identify
from homeostat.dynamics.model import FirstOrderModel, IntegratorModel, SecondOrderModel
from homeostat.dynamics.recording import Recording
from homeostat.errors import AnalysisError
from homeostat.laws import PID, Input
from homeostat.simulation import FirstOrder, simulate
from tests.dynamics.experiments import excited

PLANTS = [
    FirstOrderModel(gain=-3.0, time_constant=12.0, dead_time=4.0, offset=7.0),
    FirstOrderModel(gain=1e-6, time_constant=80.0, dead_time=0.0, offset=-1e-5),
    SecondOrderModel(gain=2.0, time_constant=10.0, damping=0.4, dead_time=3.0, offset=1.0),
    IntegratorModel(slope=0.05, dead_time=6.0),
]
every_plant = pytest.mark.parametrize("plant", PLANTS, ids=lambda p: type(p).__name__)


def parameters(model):
    return {name: value for name, value in dict(model).items() if isinstance(value, float)}


@every_plant
@pytest.mark.parametrize("every", [1, 4])
def test_without_noise_the_plant_is_found_exactly(plant, every):
    plant = plant.model_copy(update={"dead_time": plant.dead_time * every + (every > 1)})
    fit = identify(excited(plant, every=every))
    assert type(fit.model) is type(plant)
    scale = abs(getattr(plant, "gain", 1.0))
    for name, value in parameters(plant).items():
        unit = scale if name in {"offset", "balance"} else 1.0
        assert getattr(fit.model, name) == pytest.approx(value, rel=2e-3, abs=2e-3 * unit)
    assert fit.explained > 0.99999


def test_the_intervals_hold_the_truth_as_often_as_they_say():
    plant = PLANTS[0]
    fits = [
        identify(excited(plant, noise=0.5, decisions=100, seed=seed), structure="first_order") for seed in range(16)
    ]
    for name in ("gain", "time_constant", "dead_time"):
        inside = sum(low <= getattr(plant, name) <= high for low, high in (fit.intervals[name] for fit in fits))
        # Of 16 trials at 95 %, fewer than 12 has a probability of 0.1 %.
        assert inside >= 12, name
    assert np.mean([fit.noise for fit in fits]) == pytest.approx(0.5, rel=0.05)


def test_the_plausible_models_surround_the_truth():
    plant = PLANTS[0]
    fit = identify(excited(plant, noise=0.5, decisions=100), structure="first_order")
    assert len(fit.plausible) == 4
    for name in ("gain", "time_constant", "dead_time"):
        found = [getattr(model, name) for model in fit.plausible]
        assert min(found) < getattr(plant, name) < max(found)
        low, high = fit.intervals[name]
        # They lie at the border of the joint region, which is wider than each interval, by at most half here.
        assert max(found) - min(found) < 1.5 * (high - low)


def test_more_data_make_narrower_intervals():
    records = (excited(PLANTS[0], noise=0.3, decisions=n) for n in (100, 400))
    wide, narrow = (identify(record, structure="first_order").intervals["gain"] for record in records)
    assert narrow.high - narrow.low < 0.6 * (wide.high - wide.low)


def test_units_do_not_matter():
    recording = excited(PLANTS[0], noise=0.2)
    first = identify(recording, structure="first_order")
    huge = recording._replace(reading=1e40 * recording.reading, knob=1e-30 * recording.knob)
    other = identify(huge, structure="first_order")
    assert other.model.gain == pytest.approx(1e70 * first.model.gain, rel=1e-3)
    assert other.model.dead_time == pytest.approx(first.model.dead_time, rel=1e-3)
    assert other.explained == pytest.approx(first.explained, rel=1e-6)


def test_missing_readings_and_uneven_decisions_are_no_obstacle():
    recording = excited(PLANTS[0], decisions=300)
    kept = np.sort(np.random.default_rng(0).choice(300, 200, replace=False))
    reading = recording.reading.copy()
    reading[::7] = np.nan
    # A knob may be recorded only where it moves.
    kept = np.union1d(kept, np.flatnonzero(np.diff(recording.knob, prepend=np.nan)))
    fit = identify(Recording.of(kept, reading[kept], recording.knob[kept]))
    assert fit.model.gain == pytest.approx(-3.0, rel=1e-3)
    assert fit.model.dead_time == pytest.approx(4.0, abs=1e-2)


def test_a_loop_at_work_with_a_change_of_setpoint_is_enough():
    plant = FirstOrder(gain=2.0, time_constant=15, dead_time=5, noise=0.02)
    run = simulate(PID(gain=0.5, integral_time=15), plant, ticks=200, setpoint=1.0)
    fit = identify(Recording.of(np.arange(200), run.reading, run.delivered))
    assert fit.intervals["gain"].low < 2.0 < fit.intervals["gain"].high
    assert fit.model.dead_time == pytest.approx(5, abs=1.0)


@pytest.mark.parametrize(
    ("memory", "white", "seed"), [(0.0, 0.0, 0), (0.5, 0.0, 1), (0.9, 0.0, 2), (1.0, 0.0, 3), (1.0, 3.0, 4)]
)
def test_a_loop_that_answers_noise_only_is_refused(memory, white, seed):
    """Whatever the noise remembers, the knob has no effect."""
    rng = np.random.default_rng(seed)
    noise = lfilter([1.0], [1.0, -memory], rng.standard_normal(200)) + white * rng.standard_normal(200)
    law, knob, knobs = PID(gain=0.3, integral_time=15), 0.0, []
    state = law.init()
    for i, reading in enumerate(noise.tolist()):
        (knob,), state, _ = law.update(state, Input((reading,), (0.0,), (knob,), (i == 0,), 1))
        knobs.append(knob)
    with pytest.raises(AnalysisError, match=r"must stand out of the noise.*but answers the reading\. Change the setp"):
        identify(Recording.of(range(200), noise, knobs))


@pytest.mark.parametrize("memory", [0.5, 0.9])
def test_under_noise_with_a_memory_a_step_still_finds_the_plant(memory):
    knob = (np.arange(200) // 40 % 2).astype(float)
    pulse = FirstOrderModel(gain=2.0, time_constant=15.0, dead_time=5.0).pulse(1)
    noise = lfilter([1.0], [1.0, -memory], 0.1 * np.random.default_rng(0).standard_normal(200))
    reading = lfilter(pulse.numerator, pulse.denominator, knob) + noise
    fit = identify(Recording.of(range(200), reading, knob), structure="first_order")
    assert fit.intervals["gain"].low < 2.0 < fit.intervals["gain"].high
    assert fit.noise == pytest.approx(0.1, rel=0.15)


def test_a_reading_that_changes_by_itself_is_not_put_down_to_the_knob():
    """A start that fades, while a knob without effect moves."""
    recording = excited(FirstOrderModel(gain=0.0, time_constant=1.0), noise=0.05)
    fading = np.exp(-recording.tick / 40)
    with pytest.raises(AnalysisError, match=r"explains \d % of"):
        identify(recording._replace(reading=recording.reading + fading))


@pytest.mark.parametrize("seed", range(3))
def test_under_a_drift_the_plant_is_found_by_its_steps(seed):
    """As while a model learns: the reading follows the knob at once, and falls by more than the knob moves it."""
    rng = np.random.default_rng(seed)
    knob = np.where(np.arange(60) // 20 == 1, 1.0, 0.0)
    drift = np.cumsum(rng.normal(-0.05, 0.05, 60))
    reading = np.append(0.0, knob[:-1]) + drift
    fit = identify(Recording.of(5 * np.arange(60), reading, knob))
    assert fit.drifts
    assert fit.intervals["gain"].low < 1.0 < fit.intervals["gain"].high
    assert fit.noise == pytest.approx(0.05, rel=0.25)
    assert fit.model.offset + fit.model.gain * knob[-1] == pytest.approx(reading[-1], abs=1e-6)


def test_noise_that_does_not_drift_is_not_taken_for_it():
    assert not identify(excited(PLANTS[0], noise=0.5)).drifts


def test_a_structure_that_does_not_exist_is_refused():
    with pytest.raises(AnalysisError, match=r"structure must be one of auto, .*; got 'third'"):
        identify(excited(PLANTS[0]), structure="third")


@pytest.mark.parametrize(
    ("recording", "message"),
    [
        (Recording.of(range(9), range(9), range(9)), "at least 10 finite readings; got 9"),
        (Recording.of(range(20), [1.0] * 20, range(20)), "Readings must vary"),
        (Recording.of(range(20), range(20), [1.0] * 20), "The knob must move"),
        (Recording.of([0, *range(10**7, 10**7 + 19)], range(20), range(20)), "at most 100000 steps"),
    ],
)
def test_data_without_information_are_refused_with_the_reason(recording, message):
    with pytest.raises(AnalysisError, match=message):
        identify(recording)
