"""Closed loops as matrices, built from the textbook's equations and not from the code that is tested."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag, expm

from homeostat.laws import PID, Law, MatrixPI
from homeostat.simulation import (
    AnyPlant,
    DelayedPlant,
    FirstOrder,
    Integrator,
    SecondOrder,
    TwoByTwo,
    UnstableFirstOrder,
)

Matrix = NDArray[np.float64]


class System(NamedTuple):
    """x' = a x + b u, y = c x + d u; x' is the state one decision later."""

    a: Matrix
    b: Matrix
    c: Matrix
    d: Matrix


def differential(plant: AnyPlant) -> tuple[Matrix, Matrix, Matrix, tuple[int, ...]]:
    """The plant's differential equation x' = a x + b u(t - dead time), y = c x, and the dead time of each knob."""
    match plant:
        case FirstOrder(gain=k, time_constant=t):
            a, b = [[-1 / t]], [[k / t]]
        case UnstableFirstOrder(gain=k, time_constant=t):
            a, b = [[1 / t]], [[k / t]]
        case Integrator(gain=k):
            a, b = [[0.0]], [[k]]
        case SecondOrder(gain=k, time_constant=t, damping=d):
            a, b = [[0.0, 1.0], [-1 / t**2, -2 * d / t]], [[0.0], [k / t**2]]
        case TwoByTwo():
            (g1, g2), (c1, c2), t = plant.gains, plant.interaction, np.ravel(plant.time_constants)
            paths = np.array([[g1, 0], [0, c1 * g1], [c2 * g2, 0], [0, g2]])
            return np.diag(-1 / t), paths / t[:, None], np.kron(np.eye(2), [[1.0, 1.0]]), plant.dead_times
    assert isinstance(plant, DelayedPlant)
    return np.array(a), np.array(b), np.eye(1, len(a)), (plant.dead_time,)


@cache
def sampled(plant: AnyPlant, every: int) -> System:
    """The plant from decision to decision: exact sampling, a shift register a dead time, `every` ticks in a row."""
    a, b, c, dead_times = differential(plant)
    n, m = b.shape
    held = expm(np.block([[a, b], [np.zeros((m, n + m))]]))
    a, b = held[:n, :n], held[:n, n:]
    for knob, delay in enumerate(dead_times):
        if delay:
            shift, size = np.eye(delay, k=1), len(a)
            a = np.block([[a, np.outer(b[:, knob], np.eye(1, delay))], [np.zeros((delay, size)), shift]])
            b = np.vstack([np.where(np.arange(m) == knob, 0.0, b), np.zeros((delay, m))])
            b[-1, knob] = 1.0
            c = np.hstack([c, np.zeros((len(c), delay))])
    once, b_all = b, np.zeros_like(b)
    for _ in range(every):
        b_all = a @ b_all + once
    return System(np.linalg.matrix_power(a, every), b_all, c, np.zeros((len(c), m)))


def law_system(law: Law, every: int) -> System:
    """A linear law from (setpoints, readings) to commands."""
    if isinstance(law, MatrixPI):
        gain, half = np.array(law.gain), np.array(law.integral) * every / 2
        n = gain.shape[1]
        error, zero = np.hstack([np.eye(n), -np.eye(n)]), np.zeros
        # State: the integral, the last error.
        a = np.block([[np.eye(len(gain)), half], [zero((n, len(gain) + n))]])
        return System(a, np.vstack([half @ error, error]), np.hstack([np.eye(len(gain)), half]), (gain + half) @ error)
    assert isinstance(law, PID)
    parts = [_proportional(law)]
    if law.integral_time is not None:
        parts.append(_integral(law, every))
    if law.derivative_time:
        parts.append(_derivative(law, every))
    a, b, c, d = zip(*parts, strict=True)
    return System(block_diag(*a), np.vstack(b), np.hstack(c), sum(d))


def _proportional(law: PID) -> System:
    none = np.zeros((0, 0))
    return System(none, np.zeros((0, 2)), np.zeros((1, 0)), law.gain * np.array([[law.setpoint_weight, -1.0]]))


def _integral(law: PID, every: int) -> System:
    """Trapezoids: the state is the integral and half of what the last error adds to the next."""
    half = law.gain * every / (2 * law.integral_time) * np.array([[1.0, -1.0]])
    return System(np.array([[1.0, 1.0], [0.0, 0.0]]), np.vstack([half, half]), np.array([[1.0, 1.0]]), half)


def _derivative(law: PID, every: int) -> System:
    """-K Td s / (1 + s Td / N) for readings that are straight lines: the state is D and the last reading."""
    kept = math.exp(-every * law.derivative_filter / law.derivative_time)
    slope = law.gain * law.derivative_time * (1 - kept) / every
    a = np.array([[kept, slope], [0.0, 0.0]])
    b = np.array([[0.0, -slope], [0.0, 1.0]])
    return System(a, b, a[:1], b[:1])


def closed(law: Law, plant: AnyPlant, every: int = 1) -> System:
    """From setpoints to readings."""
    p, k = sampled(plant, every), law_system(law, every)
    n = len(p.c)
    for_setpoint, for_reading = np.split(k.b, 2, axis=1), np.split(k.d, 2, axis=1)
    a = np.block(
        [[p.a + p.b @ for_reading[1] @ p.c, p.b @ k.c], [for_setpoint[1] @ p.c, k.a]],
    )
    b = np.vstack([p.b @ for_reading[0], for_setpoint[0]])
    return System(a, b, np.hstack([p.c, np.zeros((n, len(k.a)))]), np.zeros((n, n)))


def radius(law: Law, plant: AnyPlant, every: int = 1) -> float:
    """The largest modulus of the closed loop's eigenvalues: below 1 it is stable."""
    return float(np.abs(np.linalg.eigvals(closed(law, plant, every).a)).max())


def jury(polynomial: Matrix) -> bool:
    """Whether all roots lie inside the unit circle, by Jury's table; the leading coefficient comes first."""
    row = polynomial / polynomial[0]
    while len(row) > 1:
        last = row[-1] / row[0]
        if abs(last) >= 1:
            return False
        row = (row - last * row[::-1])[:-1]
    return True
