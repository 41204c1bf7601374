"""Closes the loop between a law and a simulated plant."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from homeostat.laws import Law
from homeostat.profile import Profile
from homeostat.simulation.loop import Knob, SimulatedLoop
from homeostat.simulation.plant import AnyPlant, Readings, Vector

Goal = float | Profile


class SimulatedRun(NamedTuple):
    """One array a quantity, one row a tick; between two decisions the knobs stand still.

    Of a scalar law the arrays have shape (ticks,); else they have a column a reading (`reading`, `setpoint`) or a
    column a knob.

    Attributes:
        reading: what the law could see; NaN where a reading was missing, or was that.
        setpoint: what was wanted (NaN without a setpoint).
        command: what the law asked for; the admitted position where the loop was held.
        admitted: after limits and slew.
        delivered: after quantisation; this moved the plant.
    """

    reading: NDArray[np.float64]
    setpoint: NDArray[np.float64]
    command: NDArray[np.float64]
    admitted: NDArray[np.float64]
    delivered: NDArray[np.float64]


def simulate(
    law: Law,
    plant: AnyPlant,
    *,
    ticks: int,
    setpoint: Goal | tuple[Goal, ...] | None = None,
    start: float | Vector = 0.0,
    low: float | Vector = -math.inf,
    high: float | Vector = math.inf,
    slew: float | Vector = math.inf,
    quantum: float | Vector = 0.0,
    every: int = 1,
    back_off: bool = False,
    seed: int = 0,
) -> SimulatedRun:
    """Run a law on a plant as a `Homeostat` would, and return what happened.

    Positions, limits, slew and quantum are in the law's own coordinate. What holds for every reading or every knob may
    be given as one number, else as a tuple. As in a training run, a loop whose reading is not finite is held: the law
    is not asked and the knobs stay; a missing reading is no decision at all (of several readings the others decide,
    with its last value). The law is told the ticks since it was last asked, and limits win over slew.

    Args:
        law: decides; its shape must be the plant's.
        plant: what it steers.
        ticks: length of the run.
        setpoint: the wanted readings, numbers or courses over the ticks; None for a law that needs none.
        start: positions of the knobs before the first decision.
        low: least positions of the knobs.
        high: greatest positions of the knobs.
        slew: greatest change of position a tick since the last decision.
        quantum: step of the delivered position, taken once the admitted one is 0.75 of it away; 0 for a continuous
            knob.
        every: ticks between two decisions.
        back_off: back off the gains of a loop that oscillates, as a training run does by default; without it the law is
            seen alone.
        seed: of the plant's noise.

    Raises:
        ValueError: law and plant differ in shape, a tuple has another length than the readings or knobs, there is no
            tick, or a setpoint, a start or a limit makes no sense.
    """
    _refuse_misfits(law, plant, ticks, every)
    n, m = law.shape
    if law.needs_setpoint and setpoint is None:
        msg = f"A simulated {type(law).__name__} must have a setpoint; got none. Give one a reading."
        raise ValueError(msg)
    goals = () if setpoint is None else _each("setpoint", setpoint, n)
    limits = {"low": low, "high": high, "slew": slew, "quantum": quantum}
    knobs = tuple(map(Knob, *(_each(name, limit, m) for name, limit in limits.items())))
    positions = _each("start", start, m)
    _refuse_nonsense(goals, knobs, positions)
    loop = SimulatedLoop(law, knobs, positions, every, back_off=back_off)
    # One stream after another, so that a disturbance more leaves those before it the noise that they had.
    noise = np.random.default_rng(seed).standard_normal((plant.draws, ticks)).T.tolist()
    state, rows = plant.init(), []
    for tick, draws in enumerate(map(tuple, noise)):
        seen = plant.observe(state, draws)
        wanted = tuple([goal.at(tick) if isinstance(goal, Profile) else goal for goal in goals])
        if tick % every == 0:
            loop.decide(tick, seen, wanted)
        rows.append((seen, wanted or (math.nan,) * n, loop.command, loop.admitted, loop.delivered))
        state = plant.advance(state, loop.delivered, draws)
    return _columns(rows, flat=law.shape == (1, 1))


def _refuse_misfits(law: Law, plant: AnyPlant, ticks: int, every: int) -> None:
    if law.shape != plant.shape:
        msg = (
            f"A simulated law must have its plant's shape; got {type(law).__name__} of shape {law.shape} for "
            f"{type(plant).__name__} of shape {plant.shape}. Use a law of as many readings and commands."
        )
        raise ValueError(msg)
    if min(ticks, every) < 1:
        msg = f"ticks and every must be at least 1; got {ticks} and {every}. Run one tick or more, decide every one."
        raise ValueError(msg)


def _refuse_nonsense(goals: tuple[Goal, ...], knobs: tuple[Knob, ...], start: Vector) -> None:
    if not all(isinstance(goal, Profile) or math.isfinite(goal) for goal in goals):
        msg = f"A simulated setpoint must be finite; got {goals}. Leave it out for a law that needs none."
        raise ValueError(msg)
    for knob, position in zip(knobs, start, strict=True):
        if not (knob.low < knob.high and knob.slew > 0 and knob.quantum >= 0):
            msg = (
                f"A simulated knob must have low below high, a positive slew and a quantum of 0 or more; got {knob}. "
                "Leave a limit out that is not wanted."
            )
            raise ValueError(msg)
        if not (math.isfinite(position) and knob.low <= position <= knob.high):
            msg = (
                f"A simulated knob must start within its limits, as in a training run; got start={position} outside "
                f"[{knob.low}, {knob.high}]. Start it inside, or widen the limits."
            )
            raise ValueError(msg)


def _each(name: str, given: Any, count: int) -> tuple[Any, ...]:
    """Return `given` once for every reading or knob."""
    if isinstance(given, (Real, Profile)):
        return (given,) * count
    if not isinstance(given, tuple) or len(given) != count:
        msg = f"{name} must be one number or a tuple of {count}; got {given}. Give one a reading or a knob."
        raise ValueError(msg)
    return given


def _columns(rows: Iterable[tuple[Readings, ...]], *, flat: bool) -> SimulatedRun:
    quantities = [np.array(quantity, dtype=np.float64) for quantity in zip(*rows, strict=True)]
    return SimulatedRun(*([quantity[:, 0] for quantity in quantities] if flat else quantities))
