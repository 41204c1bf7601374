"""Which knob should steer which reading, if each loop is to be closed on its own."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from homeostat.errors import AnalysisError, HomeostatWarning

Array = NDArray[np.float64]

# Bristol's usual range: beyond it the loops change each other's gain by more than a gain margin of 2 to 3 covers.
WEAK, STRONG = 0.5, 3.0
# Rows and columns of an array add to 1 up to this, or it is made of rounding errors.
ROUNDING = 1e-6


class Pairing(NamedTuple):
    """A proposal, and how far the loops disturb each other.

    Attributes:
        knobs: for each reading the index of its knob.
        relative_gains: the RGA, readings x knobs.
        niederlinski: index of the pairing; negative: unstable with integral action in all loops.
        problem: one sentence; empty for a good pairing.
    """

    knobs: tuple[int, ...]
    relative_gains: Array
    niederlinski: float
    problem: str


def relative_gains(gains: ArrayLike) -> Array:
    """Return the relative gain array: G times the transpose of its inverse, element by element.

    Entry (i, j) is the gain from knob j to reading i with the other loops open over the one with them closed. Rows and
    columns add to 1 for a square G; the array does not depend on units.

    Raises:
        AnalysisError: G is not square, not finite, or singular.

    Source: E. Bristol, On a new measure of interaction for multivariable process control, IEEE Trans. Automatic
    Control 11 (1966).
    """
    matrix = np.array(gains, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.all(np.isfinite(matrix)):
        msg = (
            f"Gains must be a finite square matrix, readings x knobs; got shape {matrix.shape}. Leave out what is more."
        )
        raise AnalysisError(msg)
    # In units of the largest entries, so that nothing overflows.
    rows = matrix / np.maximum(np.abs(matrix).max(axis=1, keepdims=True), 1e-300)
    scaled = rows / np.maximum(np.abs(rows).max(axis=0, keepdims=True), 1e-300)
    try:
        array = scaled * np.linalg.inv(scaled).T
    except np.linalg.LinAlgError:
        array = np.full_like(scaled, np.nan)
    # A condition number would depend on units; the sums do not, and show what rounding has left.
    if not (np.all(np.abs(array.sum(axis=0) - 1) < ROUNDING) and np.all(np.abs(array.sum(axis=1) - 1) < ROUNDING)):
        msg = f"Knobs must act in different directions; got gains {matrix.tolist()}. Leave one out."
        raise AnalysisError(msg)
    return np.asarray(array, dtype=np.float64)


def pair(gains: ArrayLike, *, knobs: tuple[int, ...] | None = None) -> Pairing:
    """Pair readings with knobs so that the loops disturb each other least; warn if they disturb each other much.

    Chooses the permutation whose relative gains are nearest to 1 (in logarithm), none of them negative if possible. The
    Niederlinski index det G / prod g_ii, G in paired order, must be positive, or integral action in all loops is
    unstable whatever the tuning. For gains of a log-scaled knob or reading use those of the logarithms.

    Args:
        gains: static gains, readings x knobs; `FirstOrderModel.gain` of each pair.
        knobs: judge this pairing instead of choosing one.

    Raises:
        AnalysisError: the matrix is not square, or singular, or `knobs` is no permutation.

    Warns:
        HomeostatWarning: a relative gain of the pairing outside [0.5, 3], or a negative index.

    Source: A. Niederlinski, A heuristic approach to the design of linear multivariable interacting control systems,
    Automatica 7 (1971); S. Skogestad and I. Postlethwaite, Multivariable Feedback Control, 2005, section 10.6.
    """
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415

    array = relative_gains(gains)
    size = len(array)
    if knobs is None:
        distance = np.where(array > 0, np.abs(np.log(np.maximum(array, 1e-12))), 1e6)
        knobs = tuple(map(int, linear_sum_assignment(distance)[1]))
    elif sorted(knobs) != list(range(size)):
        msg = f"knobs must name each of {size} knobs once; got {knobs}. Give one a reading."
        raise AnalysisError(msg)
    paired = np.array(gains, dtype=np.float64)[:, list(knobs)]
    own = np.diag(paired)
    # Column by column in units of the pair's own gain, so that the product cannot overflow.
    index = float(np.linalg.det(paired / own[:, None])) if np.all(own) else -math.inf
    chosen = array[range(size), list(knobs)]
    problem = _problem(chosen, knobs, index)
    if problem:
        warnings.warn(problem, HomeostatWarning, stacklevel=2)
    return Pairing(knobs, array, index, problem)


def _problem(chosen: Array, knobs: tuple[int, ...], index: float) -> str:
    """Say what is wrong with the worst pair; nothing if nothing is."""
    worst = int(np.argmax(np.where(chosen > 0, np.abs(np.log(np.maximum(chosen, 1e-300))), np.inf)))
    if index <= 0:
        what = f"a Niederlinski index of {index:.2g}: with integral action in all loops the plant is unstable"
    elif not WEAK <= chosen[worst] <= STRONG:
        what = (
            f"a relative gain of {chosen[worst]:.2g} for reading {worst} with knob {knobs[worst]}: the loops will fight"
        )
    else:
        return ""
    return f"Loops closed one by one must have relative gains in [{WEAK}, {STRONG}]; got {what}. Use a CoupledLoop."
