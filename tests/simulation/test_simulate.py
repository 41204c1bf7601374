"""The simulated plant against scipy, and the closed loop against its own rules."""

from __future__ import annotations

import numpy as np
import pytest

from homeostat.laws import PID, Hold, LossRatchet
from homeostat.profile import Profile
from homeostat.simulation import FirstOrder, SimulatedPlant, simulate


def test_noise_is_measured_not_fed_back_and_follows_the_seed() -> None:
    plant = FirstOrder(level=1.0, noise=0.5)
    first, same, other = (simulate(Hold(), plant, ticks=4000, start=1.0, seed=seed).reading for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert first.std() == pytest.approx(0.5, rel=0.05)
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.05


def test_limits_slew_and_quantum_are_kept() -> None:
    plant = FirstOrder(noise=1.0)
    run = simulate(
        PID(gain=3, integral_time=5),
        plant,
        ticks=500,
        setpoint=2.0,
        low=-1.0,
        high=1.5,
        slew=0.2,
        quantum=0.25,
        every=4,
    )
    assert run.admitted.min() >= -1.0
    assert run.admitted.max() <= 1.5
    moves = np.abs(np.diff(run.admitted))
    assert moves.max() <= 0.8 + 1e-12
    assert np.flatnonzero(moves).size > 0
    assert set((np.flatnonzero(moves) + 1) % 4) == {0}
    assert set(run.delivered) <= set(0.25 * np.arange(-4, 7))
    assert np.abs(run.delivered - run.admitted).max() < 0.75 * 0.25


def test_the_setpoint_may_follow_a_course_or_be_absent() -> None:
    course = Profile(points=((0, 0.0), (100, 1.0)), interpolation="step")
    run = simulate(PID(gain=1, integral_time=10), FirstOrder(), ticks=300, setpoint=course)
    assert np.array_equal(run.setpoint, np.repeat([0.0, 1.0], [100, 200]))
    assert run.reading[-1] == pytest.approx(1.0, abs=1e-3)
    assert np.isnan(simulate(LossRatchet(), FirstOrder(), ticks=5).setpoint).all()


def test_a_plant_survives_json() -> None:
    plant = FirstOrder(gain=2.0, dead_time=3)
    assert SimulatedPlant.model_validate_json(plant.model_dump_json()) == plant
