"""Proportional and integral action of several errors on several knobs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple, Self

from pydantic import Field, model_validator

from homeostat.laws.law import Decision, Input, Law, bounded
from homeostat.laws.matrix import Matrix, check_matrix


class MatrixPIState(NamedTuple):
    """What the next decision needs.

    Attributes:
        integral: one integral term a knob, unquantised.
        error: the last errors.
        command: the last commands; None before the first.
    """

    integral: tuple[float, ...]
    error: tuple[float, ...]
    command: tuple[float, ...] | None = None


class MatrixPI(Law):
    """Steers n readings to n setpoints with m knobs at once; every knob may answer to every error.

    u = G (r - y) + I,   dI/dt = H (r - y),   with G = `gain` and H = `integral`, both m x n.

    Between two decisions the errors count as straight lines (trapezoidal rule, exact at any `elapsed`). What limits
    took from knob i flows back into I_i at the rate 1 / `tracking_time` per tick, knob by knob; a knob that
    something else moved is taken from where it is. The first commands are the admitted positions exactly.

    Attributes:
        gain: G, m rows of n numbers, in knob coordinate per unit of error.
        integral: H, m rows of n numbers, the same per tick.
        tracking_time: in ticks; as a start, the slowest of G_ij / H_ij.

    Raises:
        pydantic.ValidationError: empty or ragged matrices, or different shapes.

    Source: S. Skogestad and I. Postlethwaite, Multivariable Feedback Control, 2005, chapters 9 and 10.
    """

    gain: Matrix
    integral: Matrix
    tracking_time: float = Field(gt=0, le=1e12)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, matrix in (("gain", self.gain), ("integral", self.integral)):
            check_matrix(f"MatrixPI's {name}", matrix, "Write one row a knob, one number a reading in each.")
        sizes = [(len(matrix), len(matrix[0])) for matrix in (self.gain, self.integral)]
        if sizes[0] != sizes[1]:
            msg = (
                f"MatrixPI's gain and integral must have one shape; got {sizes[0]} and {sizes[1]}. "
                "Fill what should not act with zeros."
            )
            raise ValueError(msg)
        return self

    @property
    def needs_setpoint(self) -> bool:
        """A controller always does."""
        return True

    @property
    def shape(self) -> tuple[int, int]:
        """Number of columns (readings), number of rows (knobs)."""
        return len(self.gain[0]), len(self.gain)

    def init(self) -> MatrixPIState:
        """Return the state before the first decision."""
        n, m = self.shape
        return MatrixPIState((0.0,) * m, (0.0,) * n)

    def update(self, state: MatrixPIState, given: Input) -> Decision:
        """Decide once, from all errors."""
        error = tuple(bounded(r) - bounded(y) for r, y in zip(given.setpoints, given.readings, strict=True))
        proportional = _product(self.gain, error)
        admitted = tuple(map(bounded, given.admitted))
        if state.command is None:
            integral, command = _minus(admitted, proportional), admitted
        else:
            middle = tuple((e + before) / 2 for e, before in zip(error, state.error, strict=True))
            integral = tuple(
                bounded(tracked + bounded(rate * (given.elapsed - given.held)))
                for tracked, rate in zip(
                    self._track(state.integral, admitted, state.command, given),
                    _product(self.integral, middle),
                    strict=True,
                )
            )
            command = tuple(bounded(p + i) for p, i in zip(proportional, integral, strict=True))
        terms = {f"P{i}": p for i, p in enumerate(proportional)} | {f"I{i}": v for i, v in enumerate(integral)}
        return Decision(command, MatrixPIState(integral, error, command), terms)

    def _track(
        self, integral: tuple[float, ...], admitted: tuple[float, ...], command: tuple[float, ...], given: Input
    ) -> Iterable[float]:
        """Yield each integral after its knob's departure from the last command has flowed into it."""
        share = -math.expm1(-given.elapsed / self.tracking_time)
        for value, departure, moved in zip(integral, _minus(admitted, command), given.moved, strict=True):
            yield bounded(value + (departure if moved else share * departure))


def _product(matrix: Matrix, vector: tuple[float, ...]) -> tuple[float, ...]:
    """Return matrix times vector, every sum bounded."""
    return tuple(bounded(sum(a * x for a, x in zip(row, vector, strict=True))) for row in matrix)


def _minus(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, ...]:
    """Return a - b, bounded."""
    return tuple(bounded(x - y) for x, y in zip(a, b, strict=True))
