"""Difference equations found in recordings, their order chosen by an information criterion."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from homeostat.dynamics.fit import Interval
from homeostat.dynamics.model import ARXModel
from homeostat.dynamics.problem import ROUNDING
from homeostat.dynamics.recording import Recording
from homeostat.errors import AnalysisError

Array = NDArray[np.float64]
Criterion = Literal["aic", "bic"]


class ARXFit(NamedTuple):
    """A model, and how sure it is.

    Attributes:
        model: the difference equation.
        past: 95 % intervals of `model.past`.
        drive: 95 % intervals of `model.drive`.
        noise: standard deviation of one step's surprise.
        criteria: criterion of every order tried: (past, drive, delay) to a number, less is better.
        samples: readings predicted, the same ones for every order.
    """

    model: ARXModel
    past: tuple[Interval, ...]
    drive: tuple[Interval, ...]
    noise: float
    criteria: dict[tuple[int, int, int], float]
    samples: int


def identify_arx(
    recording: Recording, *, past: int = 3, drive: int = 2, delay: int = 5, criterion: Criterion = "bic"
) -> ARXFit:
    """Fit y_k = c + sum a_i y_{k-i} + sum b_j u_{k-delay-j} + e_k by least squares; choose the order.

    Every number of past readings from 1 to `past`, of drives from 1 to `drive` and every delay from 1 to `delay` is
    tried on the same readings: n ln(RSS / n) + p q, with p parameters, q = ln n ("bic", which finds a true order as n
    grows) or 2 ("aic", which predicts best). Decisions that come at another distance than usual are left out.

    Unlike `identify` it needs no assumption on the plant but takes measurement noise for the plant's own, which
    biases its poles towards 0 where noise is large.

    Raises:
        AnalysisError: orders below 1 or another criterion, too few readings in a row, or a knob that does not excite
            the plant.

    Source: L. Ljung, System Identification, 1999, sections 4.2, 7.3 and 16.4.
    """
    if min(past, drive, delay) < 1 or criterion not in {"aic", "bic"}:
        msg = (
            "past, drive and delay must be at least 1 and criterion 'aic' or 'bic'; "
            f"got {past}, {drive}, {delay} and {criterion!r}. Leave them out for the usual ones."
        )
        raise AnalysisError(msg)
    ends = _usable(recording, max(past, drive + delay - 1))
    most = past + drive + 1
    if len(ends) < 3 * most:
        msg = f"Of readings in a row there must be at least {3 * most}; got {len(ends)}. Record for longer."
        raise AnalysisError(msg)
    scaled, units = _scaled(recording)
    tried = {order: _least_squares(scaled, ends, order) for order in _orders(past, drive, delay)}
    weight = math.log(len(ends)) if criterion == "bic" else 2.0
    target = scaled.reading[ends]
    criteria = {
        order: len(ends) * math.log(max(float(np.sum((target - columns @ found) ** 2)) / len(ends), ROUNDING))
        + weight * columns.shape[1]
        for order, (columns, found) in tried.items()
    }
    order = min(criteria, key=criteria.__getitem__)
    return _report(recording.every, units, target, order=order, best=tried[order], criteria=criteria)


def _orders(past: int, drive: int, delay: int) -> Iterator[tuple[int, int, int]]:
    for a in range(1, past + 1):
        for b in range(1, drive + 1):
            yield from ((a, b, d) for d in range(1, delay + 1))


def _usable(recording: Recording, reach: int) -> NDArray[np.int64]:
    """Return the decisions with finite readings at even distances `reach` decisions back."""
    even = np.append(False, np.diff(recording.tick) == recording.every)
    good = even & np.isfinite(recording.reading)
    first = np.append(False, np.isfinite(recording.reading[:-1]))
    whole = good & first
    run = np.array([whole[max(k - reach + 1, 0) : k + 1].all() and k >= reach for k in range(len(whole))], dtype=bool)
    return np.flatnonzero(run)


def _scaled(recording: Recording) -> tuple[Recording, tuple[float, float, float, float]]:
    """Return the recording from its means, in units of its deviations; and means and units."""
    seen = recording.reading[np.isfinite(recording.reading)]
    zeros = float(np.mean(seen)), float(np.mean(recording.knob))
    units = float(np.std(seen)), float(np.std(recording.knob))
    if min(units) == 0:
        msg = f"Reading and knob must vary to identify a plant; got deviations {units}. Perform a RelayTest."
        raise AnalysisError(msg)
    reading, knob = (recording.reading - zeros[0]) / units[0], (recording.knob - zeros[1]) / units[1]
    return recording._replace(reading=reading, knob=knob), (*zeros, *units)


def _least_squares(recording: Recording, ends: NDArray[np.int64], order: tuple[int, int, int]) -> tuple[Array, Array]:
    past, drive, delay = order
    columns = [recording.reading[ends - 1 - i] for i in range(past)]
    columns += [recording.knob[ends - delay - j] for j in range(drive)]
    matrix = np.column_stack((*columns, np.ones(len(ends))))
    found, _, rank, _ = np.linalg.lstsq(matrix, recording.reading[ends], rcond=1e-10)
    if rank < matrix.shape[1]:
        msg = (
            f"The knob must excite the plant enough for {matrix.shape[1]} parameters; got data of rank {rank}. "
            "Try lower orders, or perform a RelayTest."
        )
        raise AnalysisError(msg)
    return matrix, np.asarray(found, dtype=np.float64)


def _report(
    every: int,
    units: tuple[float, float, float, float],
    target: Array,
    *,
    order: tuple[int, int, int],
    best: tuple[Array, Array],
    criteria: dict[tuple[int, int, int], float],
) -> ARXFit:
    """Return model and intervals in the recording's own units."""
    from scipy.special import stdtrit  # noqa: PLC0415

    reading_zero, knob_zero, reading_unit, knob_unit = units
    columns, found = best
    past, _, delay = order
    left = target - columns @ found
    free = len(target) - len(found)
    variance = float(left @ left) / free
    wide = stdtrit(free, 0.975) * np.sqrt(variance * np.diag(np.linalg.inv(columns.T @ columns)))
    rescaled = np.append(np.ones(past), np.full(len(found) - 1 - past, reading_unit / knob_unit))
    values, wide = found[:-1] * rescaled, wide[:-1] * rescaled
    intervals = [Interval(float(v - w), float(v + w)) for v, w in zip(values, wide, strict=True)]
    resting = reading_zero * (1 - float(values[:past].sum())) - knob_zero * float(values[past:].sum())
    model = ARXModel(
        past=tuple(map(float, values[:past])),
        drive=tuple(map(float, values[past:])),
        delay=delay,
        constant=resting + float(found[-1]) * reading_unit,
        every=every,
    )
    noise = math.sqrt(variance) * reading_unit
    return ARXFit(model, tuple(intervals[:past]), tuple(intervals[past:]), noise, criteria, len(target))
