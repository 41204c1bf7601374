"""Recursive least squares with forgetting, drift and projection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from homeostat.laws.matrix import Array, Matrix, floats


class Estimate(NamedTuple):
    """Parameters and how little is known of them.

    Attributes:
        parameters: theta, p of them.
        covariance: P, p rows of p: the parameters' covariance over the variance of the noise.
    """

    parameters: tuple[float, ...]
    covariance: Matrix


def learn(estimate: Estimate, regressors: Array, answer: float, *, forgetting: float, drift: Array) -> Estimate:
    """Return the estimate after one more observation, answer = theta . regressors + noise.

    With e = y - theta . phi, s = f + phi . P phi and f = `forgetting`:

    theta <- theta + P phi e / s;   P <- (P - P phi phi' P / s) / f;

    then P_ii <- P_ii + drift_i, for parameters that walk at random.

    Without noise V = (theta - theta*)' P^-1 (theta - theta*) never grows: after the first step it is at most f times
    what it was, and the second only lessens P^-1.

    Source: G. C. Goodwin and K. S. Sin, Adaptive Filtering, Prediction and Control, 1984, section 3.3.
    """
    parameters, covariance = np.array(estimate.parameters), np.array(estimate.covariance)
    # Extremes overflow; they say nothing that could be kept.
    with np.errstate(all="ignore"):
        spread = covariance @ regressors
        total = forgetting + regressors @ spread
        parameters = parameters + spread * ((answer - parameters @ regressors) / total)
        covariance = (covariance - np.outer(spread, spread) / total) / forgetting + np.diag(drift)
    return _kept(estimate, parameters, covariance)


def project(estimate: Estimate, faces: Iterable[tuple[tuple[float, ...], float]]) -> Estimate:
    """Return the estimate moved onto each face h . theta <= g that it is beyond, one after the other.

    theta <- theta - P h (h . theta - g) / (h . P h), nearest in the metric of P^-1, in which the distance V to any
    point that keeps all faces does not grow. Near a corner a face may be left violated a little.

    Source: Goodwin and Sin, section 3.7.
    """
    parameters, covariance = np.array(estimate.parameters), np.array(estimate.covariance)
    for normal, bound in faces:
        spread = covariance @ normal
        size, beyond = np.dot(normal, spread), np.dot(normal, parameters) - bound
        if beyond > 0 and size > 0:
            parameters = parameters - spread * (beyond / size)
    return _kept(estimate, parameters, covariance)


def _kept(before: Estimate, parameters: Array, covariance: Array) -> Estimate:
    if not (np.isfinite(parameters).all() and np.isfinite(covariance).all()):
        return before
    return Estimate(floats(parameters), tuple(map(floats, covariance)))
