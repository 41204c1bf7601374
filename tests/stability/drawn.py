"""Linear plants and laws, drawn by Hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from homeostat.laws import PID, MatrixPI
from homeostat.simulation import FirstOrder, Integrator, SecondOrder, TwoByTwo, UnstableFirstOrder

signs = st.sampled_from([-1.0, 1.0])
gains = st.builds(float.__mul__, st.floats(0.2, 4), signs)
delays = st.integers(0, 4)

PLANTS: dict[str, st.SearchStrategy[Any]] = {
    "first order": st.builds(FirstOrder, gain=gains, time_constant=st.floats(1, 30), dead_time=delays),
    "second order": st.builds(
        SecondOrder, gain=gains, time_constant=st.floats(1, 8), damping=st.floats(0.1, 2), dead_time=delays
    ),
    "integrator": st.builds(Integrator, gain=gains.map(lambda gain: gain / 20), dead_time=delays),
    "unstable": st.builds(UnstableFirstOrder, gain=gains, time_constant=st.floats(8, 40), dead_time=st.integers(0, 2)),
}

# With what every action is multiplied, so that a unit plant has its border near a gain of 1.
ACTIONS: dict[str, st.SearchStrategy[dict[str, float]]] = {
    "P": st.just({}),
    "PI": st.fixed_dictionaries({"integral_time": st.floats(3, 60), "setpoint_weight": st.floats(0, 1)}),
    "PID": st.fixed_dictionaries(
        {
            "integral_time": st.floats(5, 60),
            "derivative_time": st.floats(0.5, 4),
            "derivative_filter": st.floats(2, 12),
            "setpoint_weight": st.floats(0, 1),
        }
    ),
}

small = st.floats(-0.9, 0.9)
times = st.tuples(st.floats(1, 20), st.floats(1, 20))
coupled = st.builds(
    TwoByTwo,
    gains=st.tuples(st.floats(0.3, 3), st.floats(0.3, 3)),
    interaction=st.tuples(small, small),
    time_constants=st.tuples(times, times),
    dead_times=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
directions = st.tuples(st.tuples(st.floats(0.3, 1), small), st.tuples(small, st.floats(0.3, 1)))


def pid(gain: float, actions: dict[str, float], plant: Any) -> PID:
    """A PID that acts in the plant's own direction, for plants of either sign and any size."""
    return PID(gain=gain / plant.gain, **actions)


def matrix_pi(gain: float, direction: tuple[tuple[float, float], ...], integral_time: float) -> MatrixPI:
    """Both actions along one matrix of gains."""
    proportional = tuple(tuple(gain * entry for entry in row) for row in direction)
    integral = tuple(tuple(entry / integral_time for entry in row) for row in proportional)
    return MatrixPI(gain=proportional, integral=integral, tracking_time=integral_time)
