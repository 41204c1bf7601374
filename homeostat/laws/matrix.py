"""Matrices as data: rows of floats, which survive JSON, hash, and stay finite under products."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from homeostat.laws.law import LARGEST

Matrix: TypeAlias = tuple[tuple[float, ...], ...]
Array: TypeAlias = NDArray[np.float64]


def check_matrix(name: str, matrix: Matrix, meaning: str) -> None:
    """Refuse a matrix that is empty, ragged or too large.

    Args:
        name: whose it is, for the message: "MatrixPI's gain".
        matrix: rows of numbers.
        meaning: what rows and columns stand for, for the remedy.

    Raises:
        ValueError: it is.
    """
    widths = sorted({len(row) for row in matrix})
    if len(widths) != 1 or widths[0] == 0:
        msg = f"{name} must have at least one row, all of one length; got rows of length {widths}. {meaning}"
        raise ValueError(msg)
    largest = max(abs(entry) for row in matrix for entry in row)
    if largest > LARGEST:
        msg = f"{name} must stay within 1e100; got {largest}. Rescale the readings."
        raise ValueError(msg)


def within(vector: Array) -> Array:
    """Return `vector` held within +-`LARGEST`, entry by entry."""
    # `np.clip` does the same at three times the price.
    return np.minimum(np.maximum(vector, -LARGEST), LARGEST)


def floats(vector: Array) -> tuple[float, ...]:
    """Return the entries as plain floats, as a state or a command holds them."""
    return tuple(vector.tolist())
