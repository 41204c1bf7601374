"""Curves that are short enough to draw."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# More points than this are not seen on any screen, and make the page slow.
MOST_POINTS = 5000


class Curve(NamedTuple):
    """A curve to draw.

    Attributes:
        x, y: its points; a non-finite y is a gap.
        thinned: whether points were left out.
    """

    x: Array
    y: Array
    thinned: bool


def thin(x: Array, y: Array, most: int = MOST_POINTS) -> Curve:
    """Keep the least and the greatest point of each of `most` / 2 bins, so that every spike stays visible.

    Args:
        x: shape (n,), increasing.
        y: shape (n,); non-finite values become gaps, and never win a bin that holds a finite one.
        most: points kept at most, of both kinds together.
    """
    y = np.where(np.isfinite(y), y, np.nan)
    if len(x) <= most:
        return Curve(x, y, thinned=False)
    edges = np.linspace(0, len(x), most // 2 + 1).astype(int)
    kept: list[int] = []
    for start, stop in pairwise(edges):
        values = y[start:stop]
        if np.isnan(values).all():
            kept.append(start)
        else:
            kept.extend(sorted({start + int(np.nanargmin(values)), start + int(np.nanargmax(values))}))
    return Curve(x[kept], y[kept], thinned=True)


def smooth(y: Array, window: int) -> Array:
    """Return the mean of the finite values within `window` points centred on each; NaN where there is none."""
    finite = np.isfinite(y)
    total = np.concatenate([[0.0], np.cumsum(np.where(finite, y, 0.0))])
    count = np.concatenate([[0], np.cumsum(finite)])
    at = np.arange(len(y))
    start, stop = np.maximum(at - window // 2, 0), np.minimum(at + window // 2 + 1, len(y))
    n = count[stop] - count[start]
    return np.where(n > 0, (total[stop] - total[start]) / np.maximum(n, 1), np.nan)


def value_axis(y: Array) -> dict[str, Any]:
    """Return the settings of the axis on which a curve is read best.

    That is a log axis where all is positive and more than a factor 50 lies between its ends, with a label every so many
    whole decades that there are six at most: left alone, plotly crams digits between those of a low panel.
    """
    finite = y[np.isfinite(y)]
    if not len(finite) or finite.min() <= 0 or finite.max() <= 50 * finite.min():
        return {}
    decades = float(np.log10(finite.max()) - np.log10(finite.min()))
    return {"type": "log", "dtick": max(1, math.ceil(decades / 5))}


def last_finite(y: Array) -> Array:
    """Replace each non-finite value by the last finite one before it, or else by the first after it."""
    finite = np.isfinite(y)
    if not finite.any():
        return np.zeros_like(y)
    at = np.maximum.accumulate(np.where(finite, np.arange(len(y)), -1))
    return np.asarray(y[np.where(at < 0, finite.argmax(), at)])
