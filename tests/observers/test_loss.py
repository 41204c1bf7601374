import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from homeostat.observers import GeneralizationGap, Loss, LossTrend
from homeostat.plant import Plant

numbers = st.floats(-1e6, 1e6)


def plant():
    model = nn.Linear(2, 2)
    return Plant(model, (torch.optim.SGD(model.parameters(), lr=0.1),))


def readings(observer, values):
    history, out = observer.start(), []
    for value in values:
        reading, history = observer.interpret(value, history)
        out.append(reading)
    return out


@given(st.lists(numbers, min_size=1, max_size=30), st.floats(0.1, 50))
def test_smoothing_is_the_exponential_average_of_its_formula(values, constant):
    weights = np.exp(-np.arange(len(values))[::-1] / constant)
    expected = np.average(values, weights=weights)
    assert readings(Loss(smoothing=constant), values)[-1] == pytest.approx(expected, rel=1e-9, abs=1e-6)


@given(numbers, st.floats(0.1, 50))
def test_a_constant_loss_reads_as_itself_from_the_first_reading_on(value, constant):
    assert readings(Loss(smoothing=constant), [value] * 5) == pytest.approx([value] * 5)


def test_without_smoothing_the_value_is_the_reading():
    assert readings(Loss(), [3.0, 1.0]) == [3.0, 1.0]


@given(st.lists(st.floats(0.1, 10), min_size=5, max_size=5))
def test_trend_is_the_least_squares_slope_over_the_mean(values):
    expected = np.polyfit(range(5), values, 1)[0] / np.mean(values)
    trend = readings(LossTrend(window=5), [9.0, *values])
    assert trend[:4] == [None] * 4
    assert trend[-1] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_trend_is_positive_where_the_loss_rises_and_relative_to_its_size():
    rising = [1.0, 1.1, 1.2, 1.3]
    assert readings(LossTrend(window=4), rising)[-1] == pytest.approx(0.1 / 1.15)
    assert readings(LossTrend(window=4), [100 * v for v in rising])[-1] == pytest.approx(0.1 / 1.15)
    assert readings(LossTrend(window=4), rising[::-1])[-1] == pytest.approx(-0.1 / 1.15)


def test_trend_of_a_loss_that_is_zero_is_zero():
    assert readings(LossTrend(window=3), [0.0, 0.0, 0.0])[-1] == 0.0


def test_the_observed_loss_is_the_mean_over_the_ticks_since_the_last_reading():
    run, observer = plant(), Loss()
    memory = observer.init(run)
    assert observer.observe(run, memory) is None
    for value in (1.0, 2.0, 6.0):
        run.metrics.observe("loss", value)
        run.metrics.commit()
    assert observer.observe(run, memory) == 3.0
    assert observer.observe(run, memory) is None


@pytest.mark.parametrize(("relative", "expected"), [(False, 2.0), (True, 1.0)])
def test_the_gap_compares_the_means_of_the_interval_and_waits_for_an_evaluation(relative, expected):
    run, observer = plant(), GeneralizationGap(relative=relative)
    memory = observer.init(run)
    for value in (1.0, 3.0):
        run.metrics.observe("loss", value)
        run.metrics.commit()
        assert observer.observe(run, memory) is None
    run.metrics.observe("validation_loss", 3.5)
    run.metrics.observe("validation_loss", 4.5)
    run.metrics.commit()
    assert observer.observe(run, memory) == expected
    assert observer.observe(run, memory) is None


def test_an_evaluation_right_after_another_is_compared_with_the_same_training_loss():
    run, observer = plant(), GeneralizationGap()
    memory = observer.init(run)
    run.metrics.observe("validation_loss", 9.0)
    run.metrics.commit()
    assert observer.observe(run, memory) is None
    for training, validation in ((1.0, 3.0), (None, 4.0)):
        if training is not None:
            run.metrics.observe("loss", training)
        run.metrics.observe("validation_loss", validation)
        run.metrics.commit()
        assert observer.observe(run, memory) == validation - 1.0


def test_two_loops_may_read_one_metric_at_different_times():
    run, observer = plant(), Loss()
    first, second = observer.init(run), observer.init(run)
    for value in (1.0, 3.0):
        run.metrics.observe("loss", value)
        run.metrics.commit()
        assert observer.observe(run, first) == value
    assert observer.observe(run, second) == 2.0


def test_a_non_finite_loss_reaches_the_loop_and_spoils_no_later_reading():
    values = [2.0, math.nan, 2.0, math.inf, 2.0]
    assert [r for r in readings(Loss(smoothing=3.0), values) if math.isfinite(r)] == pytest.approx([2.0] * 3)
