"""A few plants of the benchmark: stable, safe, and near the best PID there is."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.autotuning import cases, errors_of, horizon, judge, noises, summary
from homeostat.laws import PID, Input
from homeostat.simulation import FirstOrder


def test_plants_of_the_benchmark_are_tuned_well():
    results = [judge(plant, seed) for seed, plant in list(cases(20, 7))[5:8]]
    figures = summary(results)
    assert (figures["refused"], figures["unstable"]) == (0, 0)
    assert 1.0 <= figures["median"] < 1.5
    assert figures["worst"] < 2.0
    assert figures["greatest_sensitivity"] < 2.5
    assert max(result["left"] for result in results) < 0.2


def test_brute_force_simulates_the_very_law():
    plant = FirstOrder(gain=-2.0, time_constant=9.0, dead_time=3, noise=0.02)
    law = PID(gain=-0.9, integral_time=8.0, derivative_time=1.5)
    half = horizon(plant)
    # From rest: a decision at the setpoint the plant is at, before anything is asked of it.
    state, knob, level, error = law.update(law.init(), Input((0.0,), (0.0,), (0.0,), (True,), 1)).state, 0.0, 0.0, 0.0
    plant_state = plant.init()
    for i, noise in enumerate(noises(plant, 5).tolist()):
        level = plant.read(plant_state, 0.0)
        error += abs(0.4 - level)
        (knob,), state, _ = law.update(state, Input((level + noise,), (0.4,), (knob,), (False,), 1))
        plant_state = plant.step(plant_state, knob + (0.2 if i >= half else 0.0))
    found = errors_of(plant, 5, np.array([[-0.9, 8.0, 1.5], [-0.1, 8.0, 0.0]]))
    assert found[0] == pytest.approx(error, rel=1e-9)
    assert found[1] > 1.5 * found[0]
