"""The published Echo rule: what it does, and why the library has others."""

from __future__ import annotations

import math

import numpy as np
import pytest

from homeostat.laws import PID, LossRatchet
from homeostat.simulation import FirstOrder, simulate
from tests.laws.steps import commands

BASE = math.log(10_000)


def test_multiplies_the_base_by_the_published_factor() -> None:
    bases = np.exp(commands(LossRatchet(), [3.0, 2.0, 2.0, 2.5, 1.0], start=BASE))
    assert bases == pytest.approx(10_000 * 1.0025 ** np.array([1, 2, 1, 0, 1]))


def spread(law: LossRatchet | PID, plant: FirstOrder, **limits: float) -> np.ndarray:
    """Distance from the start after 1000 decisions, for 30 seeds."""
    runs = [simulate(law, plant, ticks=1000, setpoint=2.0, start=BASE, seed=seed, **limits) for seed in range(30)]
    return np.array([run.admitted[-1] - BASE for run in runs])


def test_drifts_on_noise_where_a_bounded_pid_stays() -> None:
    """The loss only fluctuates and the base has no effect on it: nothing should move."""
    plant = FirstOrder(gain=0.0, offset=2.0, level=2.0, noise=0.1)
    step = math.log(1.0025)
    ratchet = spread(LossRatchet(), plant)
    assert ratchet.std() == pytest.approx(step * math.sqrt(1000 / 3), rel=0.35)
    limits = {"low": BASE - 0.02, "high": BASE + 0.02}
    pid = spread(PID(gain=0.05, integral_time=200, dead_band=0.3), plant, **limits)
    assert np.abs(pid).max() <= 0.02
    assert np.abs(pid).mean() < np.abs(ratchet).mean() / 5


def test_follows_a_falling_loss_without_limit() -> None:
    losses = np.linspace(5.0, 1.0, 3000)
    assert np.exp(commands(LossRatchet(), losses, start=BASE)[-1]) > 1e7


def test_a_bounded_pid_settles_where_the_ratchet_wanders() -> None:
    """The base does act on the reading: the PID finds the setpoint and stays, the ratchet passes through."""
    plant = FirstOrder(gain=1.0, time_constant=5, offset=2.0 - BASE, level=2.5, noise=0.02)
    pid = simulate(PID(gain=0.2, integral_time=10), plant, ticks=2000, setpoint=2.0, start=BASE + 0.5, high=BASE + 1)
    ratchet = simulate(LossRatchet(), plant, ticks=2000, start=BASE + 0.5)
    assert np.abs(pid.admitted[-500:] - BASE).mean() < 0.02
    assert np.abs(ratchet.admitted[-500:] - BASE).mean() > 0.1
