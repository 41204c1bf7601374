"""A plant with an optimum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from homeostat.laws import Hold, Schedule
from homeostat.profile import Profile
from homeostat.simulation import FirstOrder, Optimum, simulate


@given(st.floats(-10, 10), st.floats(-5, 5), st.floats(-3, 3))
@settings(max_examples=40)
def test_the_reading_is_best_at_the_optimum(best: float, curvature: float, away: float) -> None:
    plant = Optimum(best=(best,), curvature=(curvature,), value=7.0)
    assert simulate(Hold(), plant, ticks=3, start=best).reading[-1] == 7.0
    reading = simulate(Hold(), plant, ticks=3, start=best + away).reading[-1]
    assert reading == pytest.approx(7.0 + curvature * away**2 / 2, rel=1e-9, abs=1e-9)


def test_each_knob_follows_with_the_lag_of_a_first_order_plant() -> None:
    plant = Optimum(best=(1.0, -2.0), curvature=(2.0, 0.5), time_constant=6.0, start=(0.0, 4.0))
    knobs = np.random.default_rng(0).normal(size=(2, 40))
    state, readings = plant.init(), []
    for pair in knobs.T:
        readings += plant.observe(state, (0.0,))
        state = plant.advance(state, tuple(pair), (0.0,))
    lagged = [
        simulate(
            Schedule(profile=Profile(points=tuple(enumerate(knob)), interpolation="step")),
            FirstOrder(time_constant=6.0, level=start),
            ticks=40,
        ).reading
        for knob, start in zip(knobs, plant.start, strict=True)
    ]
    assert readings == pytest.approx((lagged[0] - 1.0) ** 2 + 0.25 * (lagged[1] + 2.0) ** 2)


def test_the_noise_is_the_readings() -> None:
    run = simulate(Hold(), Optimum(noise=0.5), ticks=2000, start=0.0)
    assert run.reading[1:].std() == pytest.approx(0.5, rel=0.06)


def test_a_number_that_is_missing_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"Optimum.curvature must have a number for each of the 2 knobs"):
        Optimum(best=(0.0, 0.0), start=(1.0, 1.0))
