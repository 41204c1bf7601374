"""What the errors of a loop say about it by themselves: how much no law could take away, and whether they cycle."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from homeostat.analysis.vitals_course import Array

# Fewer errors than this do not tell noise from dynamics.
FEWEST = 20
# A median absolute deviation times this is the standard deviation of normal noise.
MAD_TO_SIGMA = 1.4826


class Forecast(NamedTuple):
    """The errors of a loop, and what of them the best linear forecast left.

    Attributes:
        size: the greatest |error|; errors and residuals are kept in units of it, where squares stay finite.
        errors: setpoint minus reading at each decision, shape (n,).
        residuals: of the forecast; see `forecast`.
        delay: how many decisions ahead it looked.
    """

    size: float
    errors: Array
    residuals: Array
    delay: int

    @property
    def harris(self) -> float:
        """The mean squared residual over the mean square of the errors forecast; see `harris_index`."""
        actual = float(np.mean(self.errors[-len(self.residuals) :] ** 2))
        least = float(np.mean(self.residuals**2))
        return min(least / actual, 1.0) if actual else 1.0

    @property
    def noise(self) -> float:
        """The standard deviation of what no law could take away, whatever single shocks came with it.

        The median of |residuals|, scaled for normal noise, since a jump is one residual among many; or the same of
        |e(t) - e(t - delay)| / sqrt(2) where that is less, since a long way back from a great jump bends the fit. That
        second forecast alone, "nothing changes", would take a fast cycle for noise.
        """
        changes = (self.errors[self.delay :] - self.errors[: -self.delay]) / math.sqrt(2)
        typical = [float(np.median(np.abs(left))) for left in (self.residuals, changes)]
        return MAD_TO_SIGMA * min(typical) * self.size


def forecast(errors: Array, delay: int = 1) -> Forecast:
    """Forecast the errors over `delay` decisions from those before.

    e(t) = c + sum_{i < p} a_i e(t - delay - i) + residual(t),   p = a tenth of the errors, 10 at most.

    Nothing that a law does can be seen in the reading before `delay` decisions have passed, so the residual is what no
    law could have taken away. Fitted by least squares and scaled to the degrees of freedom, so that its mean square is
    an unbiased estimate. A constant offset can be forecast, and is none of it.

    Args:
        errors: shape (n,), finite, n at least `FEWEST` + `delay` - 1.
        delay: dead time in decisions, plus one.

    Raises:
        ValueError: too few errors, or one that is not finite.

    Source: L. Desborough and T. Harris, Can. J. Chem. Eng. 70, 1992.
    """
    _refuse_unfit(errors, delay)
    size = float(np.abs(errors).max()) or 1.0
    e = errors / size
    order = min(10, len(e) // 10)
    future = e[delay + order - 1 :]
    past = [e[i : i + len(future)] for i in range(order)]
    regressors = np.column_stack([*past, np.ones(len(future))])
    coefficients, *_ = np.linalg.lstsq(regressors, future, rcond=None)
    freedom = max(len(future) - order - 1, 1)
    left = (future - regressors @ coefficients) * math.sqrt(len(future) / freedom)
    return Forecast(size, e, left, delay)


def harris_index(errors: Array, delay: int = 1) -> float:
    """Return the least variance that any law could reach over the mean squared error: 1 is the best there can be.

    eta = (mean of squared residuals of `forecast`) / (mean of e^2), 1 at most; from routine data, no experiment is
    needed. The mean is taken about the setpoint, so that a lasting offset counts. Where the dead time is not known,
    `delay` = 1 gives a lower bound. 0.5 means that half of the squared error could be had less; whether moving the knob
    for it is worth while, it does not say.

    Args:
        errors: setpoint minus reading at each decision, shape (n,), finite.
        delay: dead time in decisions, plus one.

    Raises:
        ValueError: too few errors, or one that is not finite.

    Source: T. Harris, Can. J. Chem. Eng. 67, 1989; with the estimate of Desborough and Harris, 1992.
    """
    return forecast(errors, delay).harris


def oscillation_index(errors: Array) -> float:
    """Return how regularly the errors cycle, in [0, 1]: above 0.5 they oscillate, near 1 like a clock.

    The lags at which the autocorrelation of e crosses zero are half a period apart. With m the mean and s the standard
    deviation of these distances, the index is m / (m + 3 s) = r / (1 + r), where r = m / (3 s) is the regularity of the
    source and r > 1 its test. Half periods count while the autocorrelation in them exceeds 3 / sqrt(n), ten at most;
    with fewer than four the index is 0. An amplitude plays no part.

    Args:
        errors: shape (n,), finite.

    Raises:
        ValueError: too few errors, or one that is not finite.

    Source: N. Thornhill, B. Huang and H. Zhang, J. Process Control 13, 2003.
    """
    _refuse_unfit(errors, 1)
    correlation = _autocorrelation(errors)
    sign = np.sign(correlation)
    before = np.flatnonzero(sign[:-1] * sign[1:] < 0)
    crossings = before + correlation[before] / (correlation[before] - correlation[before + 1])
    kept = 0
    for start, stop in pairwise(before[:11]):
        if np.abs(correlation[start + 1 : stop + 1]).max() < 3 / np.sqrt(len(errors)):
            break
        kept += 1
    if kept < 4:
        return 0.0
    distances = np.diff(crossings[: kept + 1])
    return float(distances.mean() / (distances.mean() + 3 * distances.std(ddof=1)))


def _autocorrelation(errors: Array) -> Array:
    """Return the autocorrelation at lags 0 to n / 2; zeros where the errors do not vary."""
    n = len(errors)
    size = float(np.abs(errors).max()) or 1.0
    e = errors / size
    e = e - e.mean()
    # Rounding of a constant is no signal.
    if np.abs(e).max() < 1e-12:
        return np.zeros(n // 2)
    spectrum = np.abs(np.fft.rfft(e, 2 * n)) ** 2
    covariance = np.fft.irfft(spectrum)[: n // 2]
    return np.asarray(covariance / covariance[0], dtype=np.float64)


def _refuse_unfit(errors: Array, delay: int) -> None:
    if delay < 1:
        msg = f"A delay must be at least 1 decision; got {delay}. Give the dead time in decisions, plus one."
        raise ValueError(msg)
    if errors.ndim != 1 or len(errors) < FEWEST + delay - 1:
        msg = (
            f"Errors must be one series of at least {FEWEST + delay - 1} at delay {delay}; got shape {errors.shape}. "
            "Let the loop decide more often, or widen the window."
        )
        raise ValueError(msg)
    if not np.isfinite(errors).all():
        msg = f"Errors must be finite; got {int((~np.isfinite(errors)).sum())} that are not. Leave held decisions out."
        raise ValueError(msg)
