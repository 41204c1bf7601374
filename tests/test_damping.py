"""A loop whose gain is far too high backs it off until it settles; a good one is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from homeostat.damping import FLOOR, Damping
from homeostat.laws import PID, AutoTune, Chain, GainSchedule, Hold, Law, LogIntegrator, Median, RelayTest
from homeostat.laws.law import Input
from homeostat.simulation import (
    Disturbed,
    FirstOrder,
    Integrator,
    LoadStep,
    Noise,
    Outliers,
    SimulatedPlant,
    simulate,
)
from homeostat.simulation import run as simulation
from homeostat.simulation.loop import SimulatedLoop
from tests.test_runner import runner

PI, FULL = PID(gain=0.8, integral_time=10), PID(gain=1.5, integral_time=10, derivative_time=2)
LAWS = (PI, FULL, Chain(laws=(Median(window=3), PI)))


def plants(gain: float) -> list[SimulatedPlant]:
    return [
        FirstOrder(gain=gain, time_constant=10, dead_time=3),
        FirstOrder(gain=gain, time_constant=30, dead_time=5, noise=0.1),
        Integrator(gain=0.05 * gain, dead_time=2, noise=0.05),
    ]


def run(monkeypatch: pytest.MonkeyPatch, law: Law, plant: Any, **options: Any) -> tuple[float, np.ndarray]:
    """The share that was left, and the errors of the last 300 of 1500 ticks."""
    made: list[SimulatedLoop] = []

    class Kept(SimulatedLoop):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(simulation, "SimulatedLoop", Kept)
    found = simulate(
        law, plant, **{"ticks": 1500, "setpoint": 1.0, "low": -10, "high": 10, "back_off": True, **options}
    )
    return made[0]._damping.share, (found.setpoint - found.reading)[-300:]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
@pytest.mark.parametrize("kind", range(3))
def test_a_gain_ten_times_too_high_is_backed_off_until_the_loop_settles(monkeypatch, law, kind):
    plant = plants(10.0)[kind]
    _, endless = run(monkeypatch, law, plant, back_off=False)
    share, settled = run(monkeypatch, law, plant)
    if share == 1:
        # Nothing had to be done.
        assert np.std(endless) < 3 * plant.noise
    else:
        assert np.std(endless) > 0.3
        assert np.std(settled) < max(2 * plant.noise, 1e-3)
        assert abs(settled.mean()) < 0.03


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
@pytest.mark.parametrize("gain", [0.1, 1.0])
def test_a_healthy_loop_is_never_backed_off(monkeypatch, law, gain):
    for plant in plants(gain):
        flaws = (LoadStep(size=1.0, at=400), Noise(size=0.2), Outliers(size=3.0, probability=0.02))
        assert run(monkeypatch, law, Disturbed(plant=plant, disturbances=flaws))[0] == 1


def test_a_loop_on_logarithms_is_damped_alike(monkeypatch):
    plant = FirstOrder(gain=1.0, offset=3.0, time_constant=4, dead_time=4)
    share, errors = run(monkeypatch, LogIntegrator(exponent=0.1, integral_time=10), plant, setpoint=3.0, low=-2.5)
    assert share < 1
    assert np.abs(errors).max() < 0.05


def test_it_is_the_gain_that_is_halved():
    """A law of half the gain, from the first decision on, goes the same way."""
    half, whole = PID(gain=0.4, integral_time=10), Damping(PI)
    whole.share = 0.5
    states, here, there = [half.init(), PI.init()], 0.3, 0.3
    rng = np.random.default_rng(0)
    for i, reading in enumerate(rng.normal(size=40).tolist()):
        given = Input((reading,), (1.0,), (here,), (i == 0,), 1)
        (here,), states[0], _ = half.update(states[0], given)
        given = given._replace(admitted=(there,))
        command, states[1], _ = PI.update(states[1], whole.tell(given))
        (there,) = whole.carry_out(command, given.admitted)
        assert there == pytest.approx(here, abs=1e-12)


@pytest.mark.parametrize(
    "law", [Hold(), AutoTune(test=RelayTest(amplitude=0.5)), GainSchedule(points=((0.0, PI), (1.0, PI)))]
)
def test_laws_that_have_no_error_or_swing_on_purpose_are_left_alone(law):
    damping = Damping(law)
    for i in range(400):
        damping.watch(Input((float(i % 10 < 5), 0.0), (0.5, 0.5), (0.0,), (False,), 1))
    assert (damping.share == 1) == (not isinstance(law, GainSchedule))


def test_the_share_halves_down_to_a_floor_and_stays_there():
    damping, seen = Damping(PI), []
    for i in range(3000):
        damping.watch(Input((float(i % 10 < 5),), (0.5,), (0.0,), (False,), 1))
        seen.append(damping.share)
    assert sorted(set(seen), reverse=True) == [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, FLOOR]
    assert seen == sorted(seen, reverse=True)


def test_the_runner_says_that_it_backs_off_and_resumes_so():
    r, p = runner(PI, setpoint=0.5)
    limits = []
    for tick in range(200):
        p.tick = tick
        limits.append(r.decide({0: float(tick % 10 < 5)}).limits)
    first = limits.index(next(found for found in limits if "backed off" in found))
    assert "alarm" in limits[first - 1]
    assert all("backed off" in found for found in limits[first:])
    assert "oscillates" in r.alarms[0].text
    again, q = runner(PI, setpoint=0.5)
    again.load_state_dict(r.state_dict())
    q.tick = p.tick = 200
    assert again.decide({0: 1.0}) == r.decide({0: 1.0})
    assert again.state_dict() == r.state_dict()
