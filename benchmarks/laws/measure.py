"""The figures of one simulated run."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from homeostat.laws import Law
from homeostat.simulation import AnyPlant, Disturbed, EdgeOfStability, NoisyQuadratic, SimulatedRun, simulate

Array = NDArray[np.float64]

# Settled is a reading that stays within this share of the step, of which all of a wave's swings count.
BAND = 0.05


class Figures(NamedTuple):
    """What a run came to; of several readings the worst, of several knobs the sum.

    Attributes:
        overshoot: greatest error beyond the goal, over the first error.
        settling: ticks after which the error stays within 5 % of the first; infinite where it does not.
        iae: sum over the ticks of |error|, without the noise of the measurement.
        seen: the same with it.
        travel: sum of |changes| of the knob.
        saturation: share of the ticks with a knob at a limit.
        steady: greatest |error| over the last quarter.
        range: least and greatest reading in it.
        moves: of the delivered knob in 1000 ticks, over the last quarter.
    """

    overshoot: float
    settling: float
    iae: float
    seen: float
    travel: float
    saturation: float
    steady: float
    range: tuple[float, float]
    moves: float


def undisturbed(plant: AnyPlant, delivered: Array) -> Array:
    """Return what a plant does when its knobs move so, read without noise, shape (ticks, readings)."""
    state, rows, quiet = plant.init(), [], (0.0,) * plant.draws
    for knobs in delivered.reshape(len(delivered), -1).tolist():
        rows.append(plant.observe(state, quiet))
        state = plant.advance(state, tuple(knobs), quiet)
    return np.array(rows, dtype=np.float64)


def measure(run: SimulatedRun, truth: Array, goal: Array, low: float, high: float) -> Figures:
    """Judge a run by the readings it really had, shape (ticks, n), beside those wanted, shape (n,); NaN for any."""
    judged = np.isfinite(goal)
    error = (truth - goal)[:, judged]
    first = np.abs(error[0])
    scale = np.where(first > 0, first, first.max())
    # What first came from above overshoots below.
    side = np.where(error[0] > 0, -1.0, 1.0)
    outside = np.flatnonzero((np.abs(error) > BAND * scale).any(axis=1))
    last = int(outside[-1]) + 1 if len(outside) else 0
    late = max(1, len(error) // 4)
    ending = truth[-late:, judged]
    knobs, admitted = (positions.reshape(len(error), -1) for positions in (run.delivered, run.admitted))
    seen = run.reading.reshape(len(error), -1)[:, judged] - goal[judged]
    return Figures(
        overshoot=float(np.maximum(0.0, (side * error).max(axis=0) / scale).max()),
        settling=float(last) if last < len(error) else math.inf,
        iae=float(np.abs(error).sum()),
        seen=float(np.nansum(np.abs(seen))),
        travel=float(np.abs(np.diff(knobs, axis=0)).sum()),
        saturation=float(((admitted <= low) | (admitted >= high)).any(axis=1).mean()),
        steady=float(np.abs(error[-late:]).max()),
        range=(float(ending.min()), float(ending.max())),
        moves=1000 * float(np.count_nonzero(np.diff(knobs[-late:], axis=0))) / late,
    )


def judge(law: Law, plant: AnyPlant, goal: tuple[float, ...], **how: Any) -> Figures:
    """Run a law on a plant and judge it by the goals; `how` is for `simulate`, where a setpoint may differ from them.

    An outermost `Disturbed` is the measurement, and does not count. Where noise drives the plant itself, its readings
    are without any of their own.
    """
    needed = how.get("setpoint", goal) if law.needs_setpoint else None
    run = simulate(law, plant, **{**how, "setpoint": needed})
    bare = plant.plant if isinstance(plant, Disturbed) else plant
    driven = isinstance(bare, NoisyQuadratic | EdgeOfStability)
    truth = run.reading[:, None] if driven else undisturbed(bare, run.delivered)
    return measure(run, truth, np.array(goal), how.get("low", -math.inf), how.get("high", math.inf))
