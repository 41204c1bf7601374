"""A linear model as data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from homeostat.laws import LinearModel
from homeostat.simulation import TwoByTwo


@given(st.tuples(st.integers(0, 4), st.integers(0, 4)), st.integers(0, 99))
def test_first_order_paths_answer_as_the_simulated_plant(delays: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = tuple(map(tuple, rng.uniform(1, 30, size=(2, 2))))
    plant = TwoByTwo(interaction=(0.5, -1.5), gains=(2.0, 0.1), time_constants=times, dead_times=delays)
    model = LinearModel.first_order(plant.gain, times, delays)
    a, b, c = map(np.array, (model.state_matrix, model.input_matrix, model.output_matrix))
    x, state = np.zeros(len(a)), plant.init()
    for knobs in rng.normal(size=(20, 2)):
        np.testing.assert_allclose(c @ x, plant.observe(state, (0.0, 0.0)), rtol=1e-12, atol=1e-12)
        x, state = a @ x + b @ knobs, plant.advance(state, tuple(knobs), (0.0, 0.0))


def test_a_path_without_gain_takes_no_state() -> None:
    model = LinearModel.first_order(((1.0, 0.0, 2.0),), 10, (0, 0, 3))
    assert model.shape == (1, 3)
    assert len(model.state_matrix) == 2 + 3


@given(st.integers(0, 60))
def test_several_ticks_are_that_many_single_ones(ticks: int) -> None:
    model = LinearModel.first_order(((1.0, 0.4), (0.3, -2.0)), 10.0, (0, 2))
    a, b = (np.array(matrix) for matrix in (model.state_matrix, model.input_matrix))
    x, knobs = np.ones(len(a)), np.array([0.5, -1.0])
    over = model.over(ticks)
    expected = over[0] @ x + over[1] @ knobs
    for _ in range(ticks):
        x = a @ x + b @ knobs
    np.testing.assert_allclose(x, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        ((((1.0, 0.0),), ((1.0,),), ((1.0,),)), "must be s x s, s x m and n x s"),
        ((((1.0,),), ((1.0,), (2.0,)), ((1.0,),)), "must be s x s, s x m and n x s"),
        (((), ((1.0,),), ((1.0,),)), "state_matrix must have at least one row"),
        ((((1e200,),), ((1.0,),), ((1.0,),)), "must stay within 1e100"),
    ],
)
def test_refuses_matrices_that_do_not_fit(matrices: tuple, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LinearModel(**dict(zip(("state_matrix", "input_matrix", "output_matrix"), matrices, strict=True)))


def test_refuses_paths_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="must be 1 rows of 2 numbers"):
        LinearModel.first_order(((1.0, 2.0),), ((1.0,),))
    with pytest.raises(ValueError, match="must be 1 rows of 2 numbers"):
        LinearModel.first_order(((1.0, 2.0),), 5.0, (1,))
    with pytest.raises(ValueError, match="Time constants must be positive"):
        LinearModel.first_order(((1.0, 2.0),), -5.0)
    with pytest.raises(ValueError, match="at most 256"):
        LinearModel.first_order(((1.0,),), 5.0, (300,))
