"""Least-squares fits of plants with dead time, with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from homeostat.dynamics.grid import Grid
from homeostat.dynamics.model import FirstOrderModel, IntegratorModel, SecondOrderModel

Array = NDArray[np.float64]
Model = FirstOrderModel | SecondOrderModel | IntegratorModel

# A perfect fit leaves nothing but rounding, of which there is no logarithm.
ROUNDING = 1e-24


class Interval(NamedTuple):
    """Where a parameter lies with a confidence of 95 %."""

    low: float
    high: float


class Fit(NamedTuple):
    """A model, and how sure it is.

    Attributes:
        model: of the reading over the knob's coordinate.
        intervals: by parameter of the model.
        plausible: models at the border of the joint confidence region, that a controller had better also be safe on.
        explained: share of the reading's variation about a straight line that the knob explains, at most 1.
        doubt: probability that a knob without effect explains as much.
        noise: standard deviation of what is left, in the reading's unit.
        criterion: Bayesian information criterion of the fit; less is better.
        samples: readings used.
    """

    model: Model
    intervals: dict[str, Interval]
    plausible: tuple[Model, ...]
    explained: float
    doubt: float
    noise: float
    criterion: float
    samples: int


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


def fit(grid: Grid, name: str) -> Fit:
    """Fit a model of the shape `name` by output error; the state at the start is fitted along.

    y(t) = c + K x(t; p) + b (1 - s(t; p)) + noise, with x the exact response to the knob and s the one to a step (of an
    integrator, b t: a drift). K, b and c follow from the nonlinear p by linear least squares (variable projection);
    a grid and then a simplex search p.

    Intervals come from the Jacobian. Residuals of a slow disturbance are alike from one reading to the next: their
    first autocorrelation r counts n of them as n (1 - r) / (1 + r).

    Source: G. Golub and V. Pereyra, Separable nonlinear least squares, Inverse Problems 19 (2003); L. Ljung, System
    Identification, 1999, chapter 10 (output-error models), section 16.4 (choice of order).
    """
    problem = _Problem(grid, SHAPES[name])
    best = problem.search()
    _, left = problem.project(best)
    count = _effective(left)
    covariance = problem.covariance(best, count)
    model = problem.model(best)
    wide = _student(max(count - len(covariance), 1.0)) * np.sqrt(np.maximum(np.diag(covariance), 0.0))
    factor, error = getattr(model, problem.shape.factor), float(wide[0]) * grid.reading_unit / grid.knob_unit
    intervals = {problem.shape.factor: Interval(factor - error, factor + error)}
    for parameter, value, spread in zip(problem.shape.names[:-1], best[:-1], np.minimum(wide[3:-1], 50.0), strict=True):
        intervals[parameter] = Interval(math.exp(value - spread), math.exp(value + spread))
    intervals["dead_time"] = Interval(max(float(best[-1] - wide[-1]), 0.0), float(best[-1] + wide[-1]))
    plausible = problem.plausible(best, covariance[3:, 3:], count)
    return _report(grid, model, intervals, plausible, left=left, count=count, parameters=len(covariance))


class _Problem:
    """The residuals of one shape of model on one recording, as a function of its nonlinear parameters."""

    def __init__(self, grid: Grid, shape: Shape) -> None:
        self.grid, self.shape = grid, shape
        self._trials = _trials(grid, shape)
        # Simplex steps may go anywhere; the box keeps exponentials finite.
        self._low, self._high = np.min(self._trials, axis=0) - 1.0, np.max(self._trials, axis=0) + 1.0
        self._low[-1] = 0.0

    def columns(self, p: Array) -> Array:
        """Return what the reading is made of: the answer to the knob, the fading start (a drift), a constant."""
        unit = self.shape.unit(p)
        step = unit.step_response(self.grid.times)
        start = step if isinstance(unit, IntegratorModel) else 1 - step
        return np.column_stack((self.grid.response(unit), start, np.ones_like(step)))

    def project(self, p: Array) -> tuple[Array, Array]:
        """Return the best factors of the columns, and what they leave."""
        return _project(self.grid, self.columns(p))

    def loss(self, p: Array) -> float:
        """Return the power of what is left."""
        left = self.project(np.clip(p, self._low, self._high))[1]
        return float(left @ left)

    def search(self) -> Array:
        """Return the nonlinear parameters of least loss."""
        from scipy.optimize import minimize  # noqa: PLC0415

        start = min(self._trials, key=self.loss)
        moves = np.append(np.full(len(start) - 1, 0.2), self.grid.step / 2)
        steps = np.vstack((start, start + np.diag(moves)))
        options = {"initial_simplex": steps, "xatol": 1e-4, "fatol": 1e-15, "maxfev": 250 * len(start)}
        found = minimize(self.loss, start, method="Nelder-Mead", options=options)
        return np.clip(np.asarray(found.x, dtype=np.float64), self._low, self._high)

    def model(self, p: Array) -> Model:
        """Return the model with these parameters, in the recording's units."""
        grid = self.grid
        factor, start, rest = map(float, self.project(p)[0])
        factor *= grid.reading_unit / grid.knob_unit
        unit = self.shape.unit(p)
        if isinstance(unit, IntegratorModel):
            drift = start * grid.reading_unit / factor if factor else 0.0
            return unit.model_copy(update={"slope": factor, "balance": grid.knob_zero - drift})
        offset = grid.reading_zero + rest * grid.reading_unit - factor * grid.knob_zero
        return unit.model_copy(update={"gain": factor, "offset": offset})

    def covariance(self, best: Array, count: float) -> Array:
        """Return the covariance of the three factors and the nonlinear parameters; `count` residuals count."""
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

        size, free = len(best), max(count - 3 - len(best), 1.0)
        bound = self.loss(best) * (1 + size / free * float(fdtri(size, free, 0.95))) + ROUNDING
        values, axes = np.linalg.eigh(covariance)
        reach = np.sqrt(np.maximum(values, 0.0) * size * float(fdtri(size, free, 0.95)))
        found = []
        for axis, length in zip(axes.T, np.minimum(reach, (self._high - self._low).max()), strict=True):
            for side in (axis * length, -axis * length):
                trials = (np.clip(best + side / 2**i, self._low, self._high) for i in range(8))
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


def _project(grid: Grid, columns: Array) -> tuple[Array, Array]:
    linear = np.asarray(np.linalg.lstsq(columns, grid.reading, rcond=None)[0], dtype=np.float64)
    return linear, grid.reading - columns @ linear


def _effective(left: Array) -> float:
    """Return how many independent residuals these are worth."""
    power = float(left @ left)
    alike = min(max(float(left[1:] @ left[:-1]) / power, 0.0), 0.98) if power > ROUNDING * len(left) else 0.0
    return len(left) * (1 - alike) / (1 + alike)


def _student(free: float) -> float:
    """Return how many standard errors make 95 %."""
    from scipy.special import stdtrit  # noqa: PLC0415

    return float(stdtrit(free, 0.975))


def _report(
    grid: Grid,
    model: Model,
    intervals: dict[str, Interval],
    plausible: tuple[Model, ...],
    *,
    left: Array,
    count: float,
    parameters: int,
) -> Fit:
    """Compare what is left with what a straight line alone would leave."""
    from scipy.special import fdtrc  # noqa: PLC0415

    line = np.column_stack((grid.times, np.ones_like(grid.times)))
    alone, power = float(np.sum(_project(grid, line)[1] ** 2)), float(left @ left)
    samples = len(left)
    noise = math.sqrt(power / max(samples - parameters, 1)) * grid.reading_unit
    criterion = samples * math.log(max(power / samples, ROUNDING)) + parameters * math.log(samples)
    explained = max(1.0 - power / alone, 0.0) if alone > 0 else 0.0
    free = max(count - parameters, 1.0)
    ratio = explained / max(1.0 - explained, ROUNDING) * free / (parameters - 2)
    doubt = float(fdtrc(parameters - 2, free, ratio))
    return Fit(model, intervals, plausible, explained, doubt, noise, criterion, samples)
