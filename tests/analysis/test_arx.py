"""ARX models: the true order and parameters are found, and intervals hold what they claim."""

from __future__ import annotations

import numpy as np
import pytest

from homeostat.analysis import Recording, identify_arx
from homeostat.errors import AnalysisError

PAST, DRIVE, DELAY = (1.3, -0.5), (0.4, 0.2), 3


def record(count=400, noise=0.1, seed=0, every=5):
    rng = np.random.default_rng(seed)
    knob = rng.normal(size=count) + 4.0
    reading = np.zeros(count)
    for k in range(5, count):
        drive = sum(b * knob[k - DELAY - j] for j, b in enumerate(DRIVE))
        reading[k] = 2.0 + PAST[0] * reading[k - 1] + PAST[1] * reading[k - 2] + drive + noise * rng.normal()
    # What comes before the equation holds is left out.
    return Recording.of(every * np.arange(count - 5), reading[5:], knob[5:])


@pytest.mark.parametrize("criterion", ["bic", "aic"])
def test_the_true_order_and_the_parameters_are_found(criterion):
    fit = identify_arx(record(noise=1e-3), criterion=criterion)
    assert fit.model.delay == DELAY
    assert fit.model.past[:2] == pytest.approx(PAST, abs=5e-3)
    assert fit.model.drive[:2] == pytest.approx(DRIVE, abs=5e-3)
    assert fit.model.every == 5
    assert fit.noise == pytest.approx(1e-3, rel=0.1)
    if criterion == "bic":
        assert (len(fit.model.past), len(fit.model.drive)) == (2, 2)
        assert fit.model.constant == pytest.approx(2.0, abs=0.02)
        assert fit.model.static_gain == pytest.approx(3.0, rel=0.01)


def test_the_intervals_hold_the_truth():
    fits = [identify_arx(record(seed=seed), past=2, delay=3) for seed in range(40)]
    found = [fit for fit in fits if (len(fit.model.past), len(fit.model.drive)) == (2, 2)]
    assert len(found) >= 36
    for i, truth in enumerate((*PAST, *DRIVE)):
        inside = [(*fit.past, *fit.drive)[i] for fit in found]
        assert np.mean([low <= truth <= high for low, high in inside]) > 0.82


def test_gaps_are_left_out():
    whole = record()
    reading = whole.reading.copy()
    reading[100:120] = np.nan
    kept = np.delete(np.arange(395), np.arange(200, 230))
    fit = identify_arx(Recording.of(whole.tick[kept], reading[kept], whole.knob[kept]))
    assert fit.samples < 350
    assert fit.model.past == pytest.approx(PAST, abs=0.1)


def test_units_do_not_matter():
    plain, other = record(), record()._replace(reading=record().reading * 1e30, knob=record().knob * 1e-20)
    first, second = identify_arx(plain).model, identify_arx(other).model
    assert second.past == pytest.approx(first.past)
    assert second.drive == pytest.approx([b * 1e50 for b in first.drive])


@pytest.mark.parametrize("wrong", [{"past": 0}, {"delay": 0}, {"criterion": "cic"}])
def test_orders_and_criteria_that_do_not_exist_are_refused(wrong):
    with pytest.raises(AnalysisError, match="past, drive and delay must be at least 1"):
        identify_arx(record(), **wrong)


@pytest.mark.parametrize(
    ("recording", "message"),
    [
        (Recording.of(range(12), np.random.default_rng(0).normal(size=12), range(12)), "at least 18; got"),
        (Recording.of(range(50), [1.0] * 50, range(50)), "must vary"),
        (Recording.of(range(60), np.random.default_rng(0).normal(size=60), [0.0, 1.0] * 30), "excite the plant enough"),
    ],
)
def test_data_without_information_are_refused(recording, message):
    with pytest.raises(AnalysisError, match=message):
        identify_arx(recording)
