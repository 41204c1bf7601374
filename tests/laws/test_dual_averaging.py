from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given as ranging
from hypothesis import strategies as st
from pydantic import ValidationError

from homeostat.laws import DualAveraging
from homeostat.simulation import SimulatedPlant, simulate
from tests.laws.steps import commands, given

errors = st.lists(st.floats(-1, 1), min_size=1, max_size=50)


class Trial(SimulatedPlant):
    """Accepts with a probability that falls with the knob, the logarithm of a step size: 0.8 at 3.0."""

    goal: float = 3.0

    def init(self) -> float:
        return 0.0

    def read(self, state: float, noise: float) -> float:
        accepted = 1 / (1 + 0.25 * math.exp(state - self.goal))
        return 1.0 if math.erf(noise / math.sqrt(2)) / 2 + 0.5 < accepted else 0.0

    def step(self, state: float, knob: float) -> float:
        del state
        return knob


@ranging(errors, st.floats(-5, 5))
def test_it_is_hoffman_and_gelmans_recursion(readings: list[float], start: float) -> None:
    """Their form: a running mean of errors with weight 1 / (t + t0), scaled by sqrt(t) / gamma."""
    mean, average, expected = 0.0, start, [start]
    averages = []
    for t, reading in enumerate(readings[1:], start=1):
        mean += (0.8 - reading - mean) / (t + 10)
        expected.append(start - math.sqrt(t) / 0.05 * mean)
        average = t**-0.75 * expected[-1] + (1 - t**-0.75) * average
        averages.append(average)
    law = DualAveraging(gain=-20)
    np.testing.assert_allclose(commands(law, readings, setpoint=0.8, start=start), expected, rtol=1e-9, atol=1e-9)
    if len(readings) > 1:
        stopped = DualAveraging(gain=-20, readings=len(readings) - 1)
        assert commands(stopped, readings, setpoint=0.8, start=start)[-1] == pytest.approx(averages[-1], abs=1e-9)


@ranging(errors, st.floats(-30, 30).filter(lambda g: abs(g) > 0.1), st.floats(0, 100))
def test_the_bound_and_the_identity_of_the_docstring(readings: list[float], gain: float, delay: float) -> None:
    out = commands(DualAveraging(gain=gain, delay=delay), [0.0, *readings], start=0.5)
    for t, x in enumerate(out[1:], start=1):
        assert abs(x - 0.5) <= abs(gain) * max(map(abs, readings)) * math.sqrt(t) + 1e-9
        mean_error = -sum(readings[:t]) / t
        assert (x - 0.5) * (1 + delay / t) / (gain * math.sqrt(t)) == pytest.approx(mean_error, abs=1e-9)


def test_the_mean_reading_goes_to_the_setpoint() -> None:
    run = simulate(DualAveraging(gain=-20), Trial(), ticks=5000, setpoint=0.8)
    bound = max(abs(run.command)) / (20 * math.sqrt(4999)) * (1 + 10 / 4999)
    assert abs(run.reading[1:].mean() - 0.8) <= bound + 1 / 4999
    assert run.command[-500:].mean() == pytest.approx(3.0, abs=0.3)


def test_the_average_stays_once_it_is_used_and_a_moved_knob_too() -> None:
    run = simulate(DualAveraging(gain=-20, readings=1000), Trial(), ticks=1500, setpoint=0.8)
    assert len(set(run.command[1000:])) == 1
    assert run.command[-1] == pytest.approx(3.0, abs=0.5)
    law = DualAveraging(gain=-20, readings=1)
    state = law.update(law.update(law.init(), given(1.0, 0.8)).state, given(1.0, 0.8)).state
    moved = law.update(state, given(0.0, 0.8, 9.0, moved=True))
    assert moved.command == law.update(moved.state, given(0.0, 0.8, 9.0)).command == (9.0,)


def test_the_average_is_as_biased_as_the_docstring_says() -> None:
    found = [
        simulate(DualAveraging(gain=-20, readings=200), Trial(), ticks=202, setpoint=0.8, seed=s) for s in range(30)
    ]
    accepted = [1 / (1 + 0.25 * math.exp(run.command[-1] - 3.0)) for run in found]
    assert np.mean(accepted) == pytest.approx(0.83, abs=0.01)


@pytest.mark.parametrize(("memory", "follows"), [(100, True), (None, False)])
def test_only_with_memory_it_follows_a_plant_that_changes(memory: int | None, follows: bool) -> None:
    class Changing(Trial):
        def init(self) -> tuple[int, float]:
            return 0, 0.0

        def read(self, state: tuple[int, float], noise: float) -> float:
            trial = Trial(goal=3.0 if state[0] < 3000 else 0.0)
            return trial.read(state[1], noise)

        def step(self, state: tuple[int, float], knob: float) -> tuple[int, float]:
            return state[0] + 1, knob

    run = simulate(DualAveraging(gain=-2, memory=memory), Changing(), ticks=3100, setpoint=0.8)
    assert (abs(run.command[-20:].mean()) < 0.6) == follows


def test_an_unreachable_setpoint_winds_nothing_up() -> None:
    law = DualAveraging(gain=-20)
    state, knob = law.init(), 0.0
    for i in range(5000):
        state = law.update(state, given(1.0, 0.8, knob, moved=i == 0)).state
        knob = min(2.0, state.command)
    assert knob == 2.0
    for _ in range(3):
        state = law.update(state, given(0.0, 0.8, knob)).state
        knob = min(2.0, state.command)
    assert knob < 2.0


@pytest.mark.parametrize("fields", [{"gain": 0}, {"gain": 1, "decay": 0.5}, {"gain": 1, "memory": 0}])
def test_refuses_nonsense(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        DualAveraging(**fields)
