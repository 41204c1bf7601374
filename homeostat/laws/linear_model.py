"""A linear model of what m knobs do to n readings, tick by tick, as data."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from homeostat.laws.matrix import Array, Matrix, check_matrix

MOST_STATES = 256


class LinearModel(BaseModel):
    """Predicts the readings of a plant near one working point from its knobs.

    x(t + 1) = A x(t) + B u(t),   y(t) = C x(t),   one step a tick, with u and y counted from the working point.

    Attributes:
        state_matrix: A, s rows of s numbers.
        input_matrix: B, s rows of m numbers, one a knob in its actuator's coordinate.
        output_matrix: C, n rows of s numbers, one row a reading.

    Raises:
        pydantic.ValidationError: the matrices do not fit each other, or there are more than 256 states.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    state_matrix: Matrix
    input_matrix: Matrix
    output_matrix: Matrix

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_matrix("A model's state_matrix", self.state_matrix, "Write one row a state.")
        check_matrix("A model's input_matrix", self.input_matrix, "Write one row a state, one number a knob in each.")
        check_matrix("A model's output_matrix", self.output_matrix, "Write one row a reading, one number a state each.")
        states = len(self.state_matrix)
        fits = len(self.state_matrix[0]) == len(self.input_matrix) == len(self.output_matrix[0]) == states
        if not fits or states > MOST_STATES:
            sizes = [(len(m), len(m[0])) for m in (self.state_matrix, self.input_matrix, self.output_matrix)]
            msg = (
                f"A model's matrices must be s x s, s x m and n x s with s at most {MOST_STATES}; got {sizes}. "
                "Give the state and input matrices one row a state, the output matrix one column a state."
            )
            raise ValueError(msg)
        return self

    @classmethod
    def first_order(
        cls,
        gains: Matrix,
        time_constants: float | Matrix,
        dead_times: tuple[int, ...] = (),
    ) -> Self:
        """Return the model whose every reading answers every knob with a first-order lag of its own.

        y_i = sum over j of x_ij;   x_ij(t + 1) = a_ij x_ij(t) + (1 - a_ij) K_ij u_j(t - dead_time_j),
        a_ij = exp(-1 / T_ij), as step tests give it. A gain of 0 leaves the path out.

        Args:
            gains: K, n rows of m numbers: the change of reading i at rest per unit of knob j.
            time_constants: T in ticks, n rows of m numbers, or one for all.
            dead_times: ticks after which each knob acts, m of them; empty for none.

        Raises:
            ValueError: the sizes differ, or a time constant is not positive.
        """
        check_matrix("gains", gains, "Write one row a reading, one number a knob in each.")
        n, m = len(gains), len(gains[0])
        times = time_constants if isinstance(time_constants, tuple) else ((float(time_constants),) * m,) * n
        delays = dead_times or (0,) * m
        if [len(row) for row in times] != [m] * n or len(delays) != m:
            msg = (
                f"time_constants must be {n} rows of {m} numbers and dead_times {m} numbers, as the gains; "
                f"got {times} and {delays}. Give one a path and one a knob."
            )
            raise ValueError(msg)
        if min(map(min, times)) <= 0 or min(delays) < 0:
            msg = (
                f"Time constants must be positive and dead times not negative; got {times} and {delays}. "
                "Give them in ticks."
            )
            raise ValueError(msg)
        return cls(**_lags(gains, times, delays))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of readings and of knobs."""
        return len(self.output_matrix), len(self.input_matrix[0])

    def over(self, ticks: int) -> tuple[Array, Array]:
        """Return A and B over `ticks` ticks during which the knobs stand still."""
        a, b = np.array(self.state_matrix), np.array(self.input_matrix)
        states, knobs = b.shape
        step = np.eye(states + knobs)
        step[:states, :states], step[:states, states:] = a, b
        # An unstable model overflows over a long pause; who asks must look.
        with np.errstate(all="ignore"):
            step = np.linalg.matrix_power(step, ticks)
        return step[:states, :states], step[:states, states:]


def _lags(gains: Matrix, times: Matrix, delays: tuple[int, ...]) -> dict[str, Matrix]:
    """Return the matrices of one lag a path, and one state for every tick a knob waits."""
    paths = [(i, j) for i, row in enumerate(gains) for j, gain in enumerate(row) if gain != 0]
    firsts = (len(paths) + np.cumsum([0, *delays])).tolist()
    a, b, c = (np.zeros(shape) for shape in ((firsts[-1],) * 2, (firsts[-1], len(delays)), (len(gains), firsts[-1])))
    for knob, (first, delay) in enumerate(zip(firsts, delays, strict=False)):
        # The knob's positions that have not acted yet, newest first.
        for state in range(first, first + delay):
            source, column = (b, knob) if state == first else (a, state - 1)
            source[state, column] = 1.0
    for state, (reading, knob) in enumerate(paths):
        decay = math.exp(-1 / times[reading][knob])
        a[state, state], c[reading, state] = decay, 1.0
        source, column = (a, firsts[knob] + delays[knob] - 1) if delays[knob] else (b, knob)
        source[state, column] = (1.0 - decay) * gains[reading][knob]
    return {"state_matrix": _rows(a), "input_matrix": _rows(b), "output_matrix": _rows(c)}


def _rows(matrix: Array) -> Matrix:
    return tuple(map(tuple, matrix.tolist()))
