"""The closed loop keeps its own rules: noise, limits, slew, quantum, setpoints, shapes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from homeostat.laws import PID, Hold, LossRatchet, MatrixPI
from homeostat.profile import Profile
from homeostat.simulation import FirstOrder, SimulatedPlant, TwoByTwo, simulate


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


@pytest.mark.parametrize("quantum", [16.0, math.log(2)])
def test_a_quantised_knob_stands_on_whole_steps_near_where_the_law_wants_it(quantum: float) -> None:
    plant = FirstOrder(gain=0.1, noise=0.02 * quantum)
    run = simulate(PID(gain=2, integral_time=10), plant, ticks=2000, setpoint=0.3 * quantum, quantum=quantum)
    steps = run.delivered[10:] / quantum
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-12)
    # Wanted is 3; the law itself is kept in full precision, so the steps do not eat its small moves.
    assert set(np.round(steps[-500:])) <= {2.0, 3.0, 4.0}
    assert np.abs(run.delivered - run.admitted).max() < 0.75 * quantum


def test_each_knob_has_limits_of_its_own() -> None:
    law = MatrixPI(gain=((1, 0), (0, 1)), integral=((0.1, 0), (0, 0.1)), tracking_time=10)
    run = simulate(
        law,
        TwoByTwo(interaction=(0.2, -0.3)),
        ticks=800,
        setpoint=(2.0, -2.0),
        start=(0.0, 0.5),
        low=(-1.0, -1.0),
        high=(5.0, 1.0),
        slew=(0.05, 1.0),
        quantum=(0.0, 0.5),
    )
    assert run.reading.shape == run.setpoint.shape == run.delivered.shape == (800, 2)
    assert (run.setpoint == (2.0, -2.0)).all()
    assert (run.admitted.min(axis=0) >= (-1.0, -1.0)).all()
    assert np.abs(np.diff(run.admitted[:, 0])).max() <= 0.05 + 1e-12
    assert np.abs(np.diff(run.admitted[:, 1])).max() > 0.1
    assert set(run.delivered[:, 1]) <= {-1.0, -0.5, 0.0, 0.5, 1.0}
    # The first reading is held in spite of the second knob, which stands at its limit.
    assert run.reading[-1, 0] == pytest.approx(2.0, abs=0.01)
    assert run.delivered[-1, 1] == -1.0


def test_what_does_not_fit_is_refused() -> None:
    law = PID(gain=1)
    with pytest.raises(ValueError, match=r"got PID of shape \(1, 1\) for TwoByTwo of shape \(2, 2\)"):
        simulate(law, TwoByTwo(), ticks=5, setpoint=0.0)
    with pytest.raises(ValueError, match="must have a setpoint; got none"):
        simulate(law, FirstOrder(), ticks=5)
    with pytest.raises(ValueError, match=r"low must be one number or a tuple of 1; got \(0.0, 1.0\)"):
        simulate(law, FirstOrder(), ticks=5, setpoint=0.0, low=(0.0, 1.0))
    with pytest.raises(ValueError, match=r"setpoint must be one number or a tuple of 1; got \[0.0\]"):
        simulate(law, FirstOrder(), ticks=5, setpoint=[0.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be at least 1; got 0 and 1"):
        simulate(law, FirstOrder(), ticks=0, setpoint=0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"setpoint": math.nan}, r"setpoint must be finite; got \(nan,\)"),
        ({"low": 1.0, "high": 1.0}, r"low below high.*got Knob\(low=1.0, high=1.0"),
        ({"slew": 0.0}, r"a positive slew.*slew=0.0"),
        ({"quantum": -1.0}, r"a quantum of 0 or more; got .*quantum=-1.0"),
        ({"start": math.inf}, r"start within its limits.*got start=inf outside \[-inf, inf\]"),
        ({"start": 2.0, "high": 1.0}, r"start within its limits.*got start=2.0 outside \[-inf, 1.0\]"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(PID(gain=1), FirstOrder(), ticks=5, **{"setpoint": 0.0, **options})


def test_the_setpoint_may_follow_a_course_or_be_absent() -> None:
    course = Profile(points=((0, 0.0), (100, 1.0)), interpolation="step")
    run = simulate(PID(gain=1, integral_time=10), FirstOrder(), ticks=300, setpoint=course)
    assert np.array_equal(run.setpoint, np.repeat([0.0, 1.0], [100, 200]))
    assert run.reading[-1] == pytest.approx(1.0, abs=1e-3)
    assert np.isnan(simulate(LossRatchet(), FirstOrder(), ticks=5).setpoint).all()


def test_a_plant_survives_json() -> None:
    plant = FirstOrder(gain=2.0, dead_time=3)
    assert SimulatedPlant.model_validate_json(plant.model_dump_json()) == plant
