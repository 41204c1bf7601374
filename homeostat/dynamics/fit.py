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
        explained: share of the reading's variation about a straight line that the knob explains, at most 1.
        doubt: probability that a knob without effect explains as much.
        noise: standard deviation of what is left, in the reading's unit.
        criterion: Bayesian information criterion of the fit; less is better.
        samples: readings used.
    """

    model: Model
    intervals: dict[str, Interval]
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
    shape = SHAPES[name]

    def columns(p: Array) -> Array:
        unit = shape.unit(p)
        fading = unit.step_response(grid.times)
        return np.column_stack(
            (grid.response(unit), fading if name == "integrator" else 1 - fading, np.ones_like(fading))
        )

    best = _search(grid, columns, _trials(grid, shape))
    linear, left = _project(grid, columns(best))
    unit = grid.reading_unit / grid.knob_unit
    factor = float(linear[0]) * unit
    if name == "integrator":
        place = {"balance": grid.knob_zero - (float(linear[1]) * grid.reading_unit / factor if factor else 0.0)}
    else:
        place = {"offset": grid.reading_zero + float(linear[2]) * grid.reading_unit - factor * grid.knob_zero}
    model = shape.unit(best).model_copy(update={shape.factor: factor, **place})
    count = _effective(left)
    errors = _errors(best, linear, left, columns, count)
    wide = errors[0] * unit
    intervals = {shape.factor: Interval(factor - wide, factor + wide)}
    for parameter, value, error in zip(shape.names[:-1], best[:-1], errors[3:-1], strict=True):
        spread = min(error, 50.0)
        intervals[parameter] = Interval(math.exp(value - spread), math.exp(value + spread))
    intervals["dead_time"] = Interval(max(float(best[-1]) - errors[-1], 0.0), float(best[-1]) + errors[-1])
    return _report(grid, model, intervals, left, count, parameters=3 + len(best))


def _trials(grid: Grid, shape: Shape) -> list[Array]:
    """Return trial parameters: dead times finely where they are short, time constants by their logarithm."""
    span = float(grid.times[-1])
    steps = max(span / grid.step / 2, 1.0)
    dead_times = grid.step * np.unique(np.append(np.arange(0, min(5, steps), 0.5), np.geomspace(1, steps, 10)))
    slow = np.log(np.geomspace(grid.step / 4, 10 * span, 12))
    damping = np.log([0.4, 1.0, 3.0])
    return [np.array(each) for each in product(*(slow, damping)[: len(shape.names) - 1], dead_times)]


def _project(grid: Grid, columns: Array) -> tuple[Array, Array]:
    linear = np.asarray(np.linalg.lstsq(columns, grid.reading, rcond=None)[0], dtype=np.float64)
    return linear, grid.reading - columns @ linear


def _search(grid: Grid, columns: Callable[[Array], Array], trials: list[Array]) -> Array:
    """Return the nonlinear parameters of least residual."""
    from scipy.optimize import minimize  # noqa: PLC0415

    # Simplex steps may go anywhere; the box keeps exponentials finite.
    low, high = np.min(trials, axis=0) - 1.0, np.max(trials, axis=0) + 1.0
    low[-1] = 0.0

    def loss(p: Array) -> float:
        left = _project(grid, columns(np.clip(p, low, high)))[1]
        return float(left @ left)

    start = min(trials, key=loss)
    moves = np.append(np.full(len(start) - 1, 0.2), grid.step / 2)
    steps = np.vstack((start, start + np.diag(moves)))
    options = {"initial_simplex": steps, "xatol": 1e-4, "fatol": 1e-15, "maxfev": 250 * len(start)}
    found = minimize(loss, start, method="Nelder-Mead", options=options)
    return np.clip(np.asarray(found.x, dtype=np.float64), low, high)


def _effective(left: Array) -> float:
    """Return how many independent residuals these are worth."""
    power = float(left @ left)
    alike = min(max(float(left[1:] @ left[:-1]) / power, 0.0), 0.98) if power > ROUNDING * len(left) else 0.0
    return len(left) * (1 - alike) / (1 + alike)


def _errors(best: Array, linear: Array, left: Array, columns: Callable[[Array], Array], count: float) -> list[float]:
    """Return half widths at 95 %: of the linear parameters, then of the nonlinear ones."""
    from scipy.special import stdtrit  # noqa: PLC0415

    move = 1e-4 * np.maximum(np.abs(best), 1.0)
    # A dead time cannot be less than 0; its slope is taken just beside it.
    middle = np.append(best[:-1], max(best[-1], move[-1]))
    slopes = [(columns(middle + d) - columns(middle - d)) @ linear / (2 * d.max()) for d in np.diag(move)]
    jacobian = np.column_stack((columns(best), *slopes))
    free = max(count - jacobian.shape[1], 1.0)
    variance = float(left @ left) / len(left) * (len(left) / free)
    covariance = variance * np.linalg.pinv(jacobian.T @ jacobian, rcond=1e-14, hermitian=True)
    wide = stdtrit(free, 0.975) * np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return [float(each) for each in wide]


def _report(
    grid: Grid, model: Model, intervals: dict[str, Interval], left: Array, count: float, *, parameters: int
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
    return Fit(model, intervals, explained, doubt, noise, criterion, samples)
