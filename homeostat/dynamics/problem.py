"""The residuals of one shape of model on one recording."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from homeostat.dynamics.grid import Grid
from homeostat.dynamics.model import FirstOrderModel, IntegratorModel, Model, SecondOrderModel
from homeostat.dynamics.noise import NOISES, WHITE, Noise

Array = NDArray[np.float64]

# A perfect fit leaves nothing but rounding, of which there is no logarithm.
ROUNDING = 1e-24


class Shape(NamedTuple):
    """A kind of model: how it follows from its nonlinear parameters.

    Attributes:
        names: of the nonlinear parameters; all but the last, the dead time, are searched as logarithms.
        unit: the model of gain 1 with these parameters.
        factor: name of the factor the model is linear in.
    """

    names: tuple[str, ...]
    unit: Callable[[Array], Model]
    factor: str


SHAPES = {
    "first_order": Shape(
        ("time_constant", "dead_time"),
        lambda p: FirstOrderModel(gain=1.0, time_constant=math.exp(p[0]), dead_time=p[1]),
        "gain",
    ),
    "second_order": Shape(
        ("time_constant", "damping", "dead_time"),
        lambda p: SecondOrderModel(gain=1.0, time_constant=math.exp(p[0]), damping=math.exp(p[1]), dead_time=p[2]),
        "gain",
    ),
    "integrator": Shape(("dead_time",), lambda p: IntegratorModel(slope=1.0, dead_time=p[0]), "slope"),
}


class Problem:
    """The residuals of one shape of model on one recording, as a function of its nonlinear parameters.

    All is of the noise's innovations, which are white; of white noise those are the readings themselves.
    """

    def __init__(self, grid: Grid, shape: Shape, *, noise: Noise = WHITE) -> None:
        self.grid, self.shape, self.noise = grid, shape, noise
        self.target = self._white(grid.reading)
        self._trials = _trials(grid, shape)
        # Simplex steps may go anywhere; the box keeps exponentials finite.
        self._low, self._high = np.min(self._trials, axis=0) - 1.0, np.max(self._trials, axis=0) + 1.0
        self._low[-1] = 0.0

    def _white(self, levels: Array) -> Array:
        return levels if self.noise == WHITE else self.noise.whiten(levels, self.grid.gaps)

    def columns(self, p: Array) -> Array:
        """Return the answer to the knob, and what else the target is made of."""
        return self._white(self._levels(p, self.noise))

    def _levels(self, p: Array, noise: Noise) -> Array:
        """Return the answer to the knob, a fading start, and a constant, of which a random walk has a slope instead."""
        unit, times = self.shape.unit(p), self.grid.times
        others = [times if isinstance(unit, IntegratorModel) else 1 - unit.step_response(times)]
        if noise.memory < 1:
            others.append(np.ones_like(times))
        elif not isinstance(unit, IntegratorModel):
            others.append(times)
        return np.column_stack((self.grid.response(unit), *others))

    def project(self, p: Array) -> tuple[Array, Array]:
        """Return the best factors of the columns, and what they leave."""
        return _project(self.target, self.columns(p))

    def innovations(self, best: Array) -> dict[Noise, float]:
        """Return the mean power of innovations beside the answer to the knob, by noise."""
        return {noise: _power(self.grid, noise, self._levels(best, noise)) for noise in NOISES}

    def within(self, p: Array) -> Array:
        """Return the nearest parameters that the recording could show."""
        return np.clip(p, self._low, self._high)

    def loss(self, p: Array) -> float:
        """Return the power of what is left."""
        left = self.project(self.within(p))[1]
        return float(left @ left)

    def search(self) -> Array:
        """Return the nonlinear parameters of least loss."""
        from scipy.optimize import minimize  # noqa: PLC0415

        start = min(self._trials, key=self.loss)
        moves = np.append(np.full(len(start) - 1, 0.2), self.grid.step / 2)
        steps = np.vstack((start, start + np.diag(moves)))
        options = {"initial_simplex": steps, "xatol": 1e-4, "fatol": 1e-15, "maxfev": 250 * len(start)}
        found = minimize(self.loss, start, method="Nelder-Mead", options=options)
        return self.within(np.asarray(found.x, dtype=np.float64))

    def model(self, p: Array) -> Model:
        """Return the model with these parameters, in the recording's units."""
        grid, linear = self.grid, self.project(p)[0]
        factor, start, rest = (*map(float, linear[:2]), float(linear[-1]))
        unit = self.shape.unit(p)
        if self.noise.memory == 1:
            # A random walk is best foretold by where it has got to.
            rest = float(grid.reading[-1] - grid.response(unit)[-1] * linear[0])
        factor *= grid.reading_unit / grid.knob_unit
        if isinstance(unit, IntegratorModel):
            drift = start * grid.reading_unit / factor if factor else 0.0
            return unit.model_copy(update={"slope": factor, "balance": grid.knob_zero - drift})
        offset = grid.reading_zero + rest * grid.reading_unit - factor * grid.knob_zero
        return unit.model_copy(update={"gain": factor, "offset": offset})

    def covariance(self, best: Array, count: float) -> Array:
        """Return the covariance of the factors and the nonlinear parameters; `count` residuals count."""
        linear, left = self.project(best)
        move = 1e-4 * np.maximum(np.abs(best), 1.0)
        # A dead time cannot be less than 0; its slope is taken just beside it.
        middle = np.append(best[:-1], max(best[-1], move[-1]))
        slopes = [(self.columns(middle + d) - self.columns(middle - d)) @ linear / (2 * d.max()) for d in np.diag(move)]
        jacobian = np.column_stack((self.columns(best), *slopes))
        variance = float(left @ left) / max(count - jacobian.shape[1], 1.0)
        return np.asarray(variance * np.linalg.pinv(jacobian.T @ jacobian, rcond=1e-14, hermitian=True))

    def plausible(self, best: Array, covariance: Array, count: float) -> tuple[Model, ...]:
        """Return models both ways along the axes of the confidence region, as far out as the loss allows.

        Where the loss is far from a parabola (a time constant as good as infinite) the covariance is only a guess,
        which is halved until the likelihood ratio agrees.
        """
        from scipy.special import fdtri  # noqa: PLC0415

        size, free = len(best), max(count - len(self.columns(best)[0]) - len(best), 1.0)
        bound = self.loss(best) * (1 + size / free * float(fdtri(size, free, 0.95))) + ROUNDING
        values, axes = np.linalg.eigh(covariance)
        reach = np.sqrt(np.maximum(values, 0.0) * size * float(fdtri(size, free, 0.95)))
        found = []
        for axis, length in zip(axes.T, np.minimum(reach, (self._high - self._low).max()), strict=True):
            for side in (axis * length, -axis * length):
                trials = (self.within(best + side / 2**i) for i in range(8))
                found += [self.model(p) for p in [next((p for p in trials if self.loss(p) <= bound), best)]]
        return tuple(found)


def _trials(grid: Grid, shape: Shape) -> list[Array]:
    """Return trial parameters: dead times finely where they are short, time constants by their logarithm."""
    span = float(grid.times[-1])
    # A record shorter than four dead times shows chance, not an effect.
    steps = max(span / grid.step / 4, 1.0)
    dead_times = grid.step * np.unique(np.append(np.arange(0, min(5, steps), 0.5), np.geomspace(1, steps, 10)))
    slow = np.log(np.geomspace(grid.step / 4, 10 * span, 12))
    damping = np.log([0.4, 1.0, 3.0])
    return [np.array(each) for each in product(*(slow, damping)[: len(shape.names) - 1], dead_times)]


def _project(target: Array, columns: Array) -> tuple[Array, Array]:
    linear = np.asarray(np.linalg.lstsq(columns, target, rcond=None)[0], dtype=np.float64)
    return linear, target - columns @ linear


def _power(grid: Grid, noise: Noise, levels: Array) -> float:
    """Return the mean power of the innovations that the columns of levels leave of the reading."""
    white = noise.whiten(np.column_stack((grid.reading, levels)), grid.gaps)
    left = _project(white[:, 0], white[:, 1:])[1]
    return float(left @ left) / len(left)


def without_knob(grid: Grid) -> float:
    """Return the least mean power of innovations beside a fading start and a line, whatever the noise's memory."""
    times, lags = grid.times, np.geomspace(grid.step / 4, 10 * grid.times[-1], 12)
    starts = [np.column_stack((np.exp(-times / lag), np.ones_like(times), times / times[-1])) for lag in lags]
    return min(_power(grid, noise, start) for noise in NOISES for start in starts)
