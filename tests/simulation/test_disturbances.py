"""Disturbances: each does what its name says, as often as it says, and they compose."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import stats

from homeostat.laws import PID, Hold, MatrixPI
from homeostat.profile import Profile
from homeostat.simulation import (
    AnyPlant,
    Disturbance,
    Disturbed,
    Drift,
    DropOuts,
    FirstOrder,
    LoadStep,
    NaNBursts,
    Noise,
    Outliers,
    TwoByTwo,
    simulate,
)

TICKS = 4000


def seen(*disturbances: Disturbance, seed: int = 0, plant: AnyPlant | None = None) -> NDArray[np.float64]:
    """The readings of a plant at rest at 0."""
    disturbed = Disturbed(plant=plant or FirstOrder(), disturbances=disturbances)
    return simulate(Hold(), disturbed, ticks=TICKS, seed=seed).reading


def test_noise_has_the_distribution_it_is_named_for() -> None:
    assert stats.kstest(seen(Noise(size=2.0)) / 2.0, "norm").pvalue > 0.01
    for freedom in (1, 3, 10):
        heavy = seen(Noise(size=0.5, freedom=freedom)) / 0.5
        assert stats.kstest(heavy, "t", args=(freedom,)).pvalue > 0.01
        assert stats.kstest(heavy, "norm").pvalue < (0.01 if freedom < 10 else 1)


def test_outliers_are_as_frequent_and_as_large_as_said() -> None:
    readings = seen(Outliers(probability=0.02, size=7.0))
    thrown = readings[readings != 0]
    assert set(thrown) == {7.0, -7.0}
    assert stats.binomtest(thrown.size, TICKS, 0.02).pvalue > 0.01
    assert stats.binomtest(int((thrown > 0).sum()), thrown.size).pvalue > 0.01


def test_drop_outs_lose_as_many_readings_as_said_and_the_loop_waits() -> None:
    plant = Disturbed(plant=FirstOrder(), disturbances=(DropOuts(probability=0.3),))
    run = simulate(
        PID(gain=0.5, integral_time=5), plant, ticks=TICKS, setpoint=Profile(points=((0, 0.0), (TICKS, 40.0))), seed=3
    )
    missing = np.isnan(run.reading)
    assert stats.binomtest(int(missing.sum()), TICKS, 0.3).pvalue > 0.01
    moved = np.diff(run.command) != 0
    assert not moved[missing[1:]].any()
    assert moved[~missing[1:]].mean() > 0.9


def test_bursts_of_nan_last_as_long_as_said() -> None:
    bad = np.isnan(seen(NaNBursts(probability=0.01, length=7)))
    edges = np.flatnonzero(np.diff(bad.astype(int)))
    lengths = np.diff(edges)[::2]
    # A burst may be followed by another at once.
    assert set(lengths % 7) == {0}
    assert stats.binomtest(int(bad.sum() / 7), int((~bad).sum() + bad.sum() / 7), 0.01).pvalue > 0.01


def test_drift_is_a_ramp_and_a_random_walk() -> None:
    assert seen(Drift(slope=0.25)) == pytest.approx(0.25 * np.arange(TICKS))
    steps = np.diff(seen(Drift(wander=0.3)))
    assert stats.kstest(steps / 0.3, "norm").pvalue > 0.01
    assert abs(np.corrcoef(steps[1:], steps[:-1])[0, 1]) < 0.05


def test_a_load_shifts_the_input_from_its_tick_on() -> None:
    readings = seen(LoadStep(at=50, size=2.0))
    assert not readings[:51].any()
    assert readings[51:400] == pytest.approx(2.0 * -np.expm1(-np.arange(1, 350) / 10))


def test_disturbances_compose_with_any_plant_channel_by_channel() -> None:
    law = MatrixPI(gain=((0.0, 0.0),) * 2, integral=((0.0, 0.0),) * 2, tracking_time=1)
    flaws = (LoadStep(at=0, size=1.0, channel=1), Outliers(probability=1.0, size=0.5, channel=0), Noise(size=1e-3))
    run = simulate(
        law, Disturbed(plant=TwoByTwo(interaction=(0.0, 0.0)), disturbances=flaws), ticks=300, setpoint=(0.0, 0.0)
    )
    assert np.abs(run.reading[:, 0]) == pytest.approx(0.5, abs=0.01)
    assert run.reading[-100:, 1] == pytest.approx(1.0, abs=0.01)
    assert abs(np.corrcoef(np.abs(run.reading[100:, 0]), run.reading[100:, 1])[0, 1]) < 0.2


def test_an_unlucky_disturbance_leaves_the_others_their_own_chance() -> None:
    """What one draws does not depend on what another makes of the reading."""
    noise = Noise(size=1.0)
    with_drops = seen(noise, DropOuts(probability=0.5))
    kept = ~np.isnan(with_drops)
    assert np.array_equal(with_drops[kept], seen(noise)[kept])


def test_a_loop_survives_all_of_them_at_once() -> None:
    flaws = (
        Noise(size=0.02, freedom=3),
        Drift(wander=0.002),
        Outliers(probability=0.01, size=0.5),
        DropOuts(probability=0.1),
        NaNBursts(probability=0.01),
        LoadStep(at=1000, size=-1.0),
    )
    plant = Disturbed(plant=FirstOrder(dead_time=2), disturbances=flaws)
    run = simulate(PID(gain=0.7, integral_time=9), plant, ticks=TICKS, setpoint=1.0, seed=1)
    assert np.isfinite(run.command).all()
    assert np.nanmedian(np.abs(run.reading[-1000:] - 1.0)) < 0.1
    assert np.median(run.delivered[-1000:]) == pytest.approx(2.0, abs=0.3)


def test_a_disturbed_plant_survives_json() -> None:
    plant = Disturbed(plant=FirstOrder(gain=2.0), disturbances=(Noise(size=0.1, freedom=4), LoadStep(at=3, size=1.0)))
    assert AnyPlant.model_validate_json(plant.model_dump_json()) == plant


def test_a_channel_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"Noise\.channel must be below the plant's 1 readings; got 1"):
        Disturbed(plant=FirstOrder(), disturbances=(Noise(size=1.0, channel=1),))
