"""The optimal gains of state feedback and state estimation, and when there are none."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from homeostat.laws.law import LARGEST
from homeostat.laws.linear_model import LinearModel
from homeostat.laws.matrix import Array

# A direction whose share of the largest is smaller counts as absent: no identified model is that exact.
NEGLIGIBLE = 1e-8


class Regulator(NamedTuple):
    """Gains for one period between decisions.

    Attributes:
        a: state matrix over the period.
        b: input matrix over the period.
        output: output matrix.
        feedback: K, from the state to the knobs.
        integral: H, from the errors to the knobs, per decision.
        correction: the Kalman gain, from the innovation to the state.
        tracking_time: geometric mean of the period and the slowest time constant of the closed loop, in ticks.
    """

    a: Array
    b: Array
    output: Array
    feedback: Array
    integral: Array
    correction: Array
    tracking_time: float


def regulator(
    model: LinearModel,
    *,
    tolerances: tuple[float, ...],
    efforts: tuple[float, ...],
    integral_decisions: float,
    noise: tuple[float, ...],
    every: int,
) -> Regulator:
    """Solve both Riccati equations in units of tolerances and efforts, so that the answer does not depend on units.

    Raises:
        ValueError: there is no gain that holds the readings at their setpoints.
    """
    from scipy.linalg import LinAlgError, solve_discrete_are  # noqa: PLC0415 - slow to import, for those who need it

    tolerance, effort = np.array(tolerances), np.array(efforts)
    a, b = model.over(every)
    scaled, seen = b * effort, np.array(model.output_matrix) / tolerance[:, None]
    _check_feasible(a, scaled, seen)
    n, states = seen.shape
    # The errors' sums join the state, this decision's error included: z(k + 1) = z(k) - y(k + 1).
    whole = np.block([[a, np.zeros((states, n))], [-seen @ a, np.eye(n)]])
    drive = np.vstack([scaled, -seen @ scaled])
    cost = np.zeros_like(whole)
    cost[:states, :states] = seen.T @ seen
    cost[states:, states:] = np.eye(n) / integral_decisions**2
    variance = np.diag((np.array(noise) / tolerance) ** 2)
    try:
        p = solve_discrete_are(whole, drive, cost, np.eye(drive.shape[1]))
        spread = solve_discrete_are(a.T, seen.T, scaled @ scaled.T, variance)
    except (LinAlgError, ValueError) as error:
        msg = (
            f"A model must have a stabilising gain; got none ({error}). Give noise and tolerances nearer in size, "
            "or a model without nearly equal paths."
        )
        raise ValueError(msg) from error
    gain = np.linalg.solve(np.eye(drive.shape[1]) + drive.T @ p @ drive, drive.T @ p @ whole)
    correction = np.linalg.solve(seen @ spread @ seen.T + variance, seen @ spread).T / tolerance
    slowest = max(abs(np.linalg.eigvals(whole - drive @ gain)).max(), 1e-9)
    feedback, integral = effort[:, None] * gain[:, :states], -effort[:, None] * gain[:, states:] / tolerance
    if not max(abs(matrix).max() for matrix in (feedback, integral, correction)) < LARGEST or slowest >= 1:
        msg = f"A model must have a stabilising gain; got a closed-loop pole at {slowest:g}. Rescale the readings."
        raise ValueError(msg)
    tracking_time = every / math.sqrt(-math.log(slowest))
    return Regulator(a, b, np.array(model.output_matrix), feedback, integral, correction, tracking_time)


def _check_feasible(a: Array, b: Array, c: Array) -> None:
    """Refuse what no feedback can do.

    The tests are Popov, Belevitch and Hautus's on every mode that does not die out, and the rank of
    [[A - I, B], [C, 0]], which falls short where the plant has a transmission zero at 1: a direction of the readings
    that constant knobs do not move.
    """
    (n, states), knobs = c.shape, b.shape[1]
    a, b, c = _in_own_units(a, b, c)
    for mode in np.linalg.eigvals(a):
        if abs(mode) < 1 - 1e-9:
            continue
        shifted = a - mode * np.eye(states)
        if _rank(np.hstack([shifted, b])) < states:
            msg = (
                f"A model's modes that do not die out must be moved by a knob; got one at {_shown(mode)} that is "
                "uncontrollable. Add a knob that moves it, or leave it out of the model."
            )
            raise ValueError(msg)
        if _rank(np.vstack([shifted, c])) < states:
            msg = (
                f"A model's modes that do not die out must show in a reading; got one at {_shown(mode)} that is "
                "unobservable. Add a reading that shows it, or leave it out of the model."
            )
            raise ValueError(msg)
    held = _rank(np.block([[a - np.eye(states), b], [c, np.zeros((n, knobs))]])) - states
    if held < n:
        msg = (
            f"A model's {knobs} knobs must hold its {n} readings apart at rest; got a zero at 1: they hold only {held} "
            "of them. Use fewer readings, or knobs whose effects are not proportional to each other."
        )
        raise ValueError(msg)


def _in_own_units(a: Array, b: Array, c: Array) -> tuple[Array, Array, Array]:
    """Return the model with every state, then every reading, in units of what the knobs do to it.

    A rank is judged by sizes, which must not depend on the units that somebody wrote the model in.
    """
    steps = [b]
    for _ in range(len(a)):
        steps.append(a @ steps[-1])
    reached = np.linalg.norm(np.hstack(steps), axis=1)
    state = np.where(reached > 0, reached, 1.0)
    c = c * state
    shown = np.linalg.norm(c, axis=1, keepdims=True)
    return a / state[:, None] * state, b / state[:, None], c / np.where(shown > 0, shown, 1.0)


def _rank(matrix: Array) -> int:
    singular = np.linalg.svd(matrix, compute_uv=False)
    return int((singular > NEGLIGIBLE * singular[0]).sum())


def _shown(mode: complex) -> str:
    return f"{mode.real:g}" if abs(mode.imag) < 1e-12 else f"{mode.real:g}{mode.imag:+g}i"
