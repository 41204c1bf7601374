"""Least-squares fits of plants with dead time, with confidence intervals."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from homeostat.dynamics.grid import Grid
from homeostat.dynamics.model import Model
from homeostat.dynamics.noise import WALK, WHITE, Noise
from homeostat.dynamics.problem import ROUNDING, SHAPES, Problem, without_knob

Array = NDArray[np.float64]

# Of two models' criteria: from here on the evidence counts as very strong (Kass and Raftery 1995).
WORSE = 10.0


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
        explained: share that the knob explains of what a knob without effect leaves, whatever the noise's memory.
        doubt: probability that a knob without effect explains as much.
        noise: standard deviation of what is left, in the reading's unit; of its innovations where it has a memory.
        drifts: whether the reading wanders by itself, so that its steps from one to the next were fitted.
        likely: the noise that leaves least.
        criterion: Bayesian information criterion of the fit; less is better.
        samples: readings used.
        every: ticks between two decisions of the recording.
        log_reading: whether the model is of the reading's logarithm.
    """

    model: Model
    intervals: dict[str, Interval]
    plausible: tuple[Model, ...]
    explained: float
    doubt: float
    noise: float
    drifts: bool
    likely: Noise
    criterion: float
    samples: int
    every: int = 1
    log_reading: bool = False


def fit(grid: Grid, name: str, *, noise: Noise = WHITE) -> Fit:
    """Fit a model of the shape `name` by output error; the state at the start is fitted along.

    y(t) = c + K x(t; p) + b (1 - s(t; p)) + noise, with x the exact response to the knob and s the one to a step (of an
    integrator, b t: a drift). K, b and c follow from the nonlinear p by linear least squares (variable projection);
    a grid and then a simplex search p. Of noise with a memory the innovations of both sides are fitted: for a random
    walk, the differences. A knob without effect may have any memory, too: only what is beyond that is explained.

    Intervals come from the Jacobian. Residuals of a slow disturbance are alike from one reading to the next: their
    first autocorrelation r counts n of them as n (1 - r) / (1 + r).

    Source: G. Golub and V. Pereyra, Separable nonlinear least squares, Inverse Problems 19 (2003); L. Ljung, System
    Identification, 1999, chapter 10 (output-error models), sections 14.1 (differenced data), 16.4 (choice of order).
    """
    problem = Problem(grid, SHAPES[name], noise=noise)
    best = problem.search()
    _, left = problem.project(best)
    alike = _alike(left)
    count = len(left) * (1 - alike) / (1 + alike)
    covariance = problem.covariance(best, count)
    model, factors = problem.model(best), len(covariance) - len(best)
    wide = _student(max(count - len(covariance), 1.0)) * np.sqrt(np.maximum(np.diag(covariance), 0.0))
    factor, error = getattr(model, problem.shape.factor), float(wide[0]) * grid.reading_unit / grid.knob_unit
    intervals = {problem.shape.factor: Interval(factor - error, factor + error)}
    ends = np.transpose([problem.within(best - wide[factors:]), problem.within(best + wide[factors:])])
    ends[:-1] = np.exp(ends[:-1])
    intervals |= {name: Interval(*map(float, pair)) for name, pair in zip(problem.shape.names, ends, strict=True)}
    plausible = problem.plausible(best, covariance[factors:, factors:], count)
    # The first reading counts as a parameter where innovations are fitted.
    samples, parameters, power = len(grid.reading), len(covariance) + (noise != WHITE), float(left @ left)
    innovations = problem.innovations(best)
    least = min(innovations.values())
    explained, doubt = _tested(least, without_knob(grid), effects=1 + len(best), free=samples - parameters)
    return Fit(
        model,
        intervals,
        plausible,
        explained,
        doubt,
        noise=math.sqrt(power / max(samples - parameters, 1)) * grid.reading_unit,
        drifts=noise.memory == 1,
        likely=_likely(innovations, samples),
        criterion=samples * math.log(max(power / len(left), ROUNDING)) + parameters * math.log(samples),
        samples=samples,
    )


def _likely(innovations: dict[Noise, float], samples: int) -> Noise:
    """Return the noise of least innovations, but a random walk unless another is much the better."""
    best = min(innovations, key=innovations.__getitem__)
    close = innovations[WALK] <= innovations[best] * math.exp(WORSE / samples)
    return WALK if close else best


def _alike(left: Array) -> float:
    """Return the first autocorrelation, from 0 to 0.98."""
    power = float(left @ left)
    return min(max(float(left[1:] @ left[:-1]) / power, 0.0), 0.98) if power > ROUNDING * len(left) else 0.0


def _student(free: float) -> float:
    """Return how many standard errors make 95 %."""
    from scipy.special import stdtrit  # noqa: PLC0415

    return float(stdtrit(free, 0.975))


def _tested(power: float, without: float, *, effects: int, free: float) -> tuple[float, float]:
    """Return what share of the power left without the knob it explains, and by what chance (F-test)."""
    from scipy.special import fdtrc  # noqa: PLC0415

    explained = max(1.0 - power / without, 0.0) if without > 0 else 0.0
    free = max(free, 1.0)
    ratio = explained / max(1.0 - explained, ROUNDING) * free / effects
    return explained, float(fdtrc(effects, free, ratio))
