"""Closes the loop between a law and a simulated plant."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from homeostat.laws import Input, Law
from homeostat.profile import Profile
from homeostat.simulation.plant import SimulatedPlant


class SimulatedRun(NamedTuple):
    """One array a quantity, one entry a tick; between two decisions the knob stands still.

    Attributes:
        reading: what the law could see.
        setpoint: what was wanted (NaN without a setpoint).
        command: what the law asked for.
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
    plant: SimulatedPlant,
    *,
    ticks: int,
    setpoint: float | Profile | None = None,
    start: float = 0.0,
    low: float = -math.inf,
    high: float = math.inf,
    slew: float = math.inf,
    quantum: float = 0.0,
    every: int = 1,
    seed: int = 0,
) -> SimulatedRun:
    """Run a scalar law on a plant and return what happened.

    Args:
        law: one reading, one command.
        plant: what it steers.
        ticks: length of the run.
        setpoint: the wanted reading, a number or a course over the ticks; None for laws without.
        start: position of the knob before the first decision.
        low: least position of the knob.
        high: greatest position of the knob.
        slew: greatest change of position a tick.
        quantum: step of the delivered position; 0 for a continuous knob.
        every: ticks between two decisions.
        seed: of the plant's noise.
    """
    noise = np.random.default_rng(seed).standard_normal(ticks)
    rows = np.empty((ticks, len(SimulatedRun._fields)))
    state, memory, command, admitted = plant.init(), law.init(), start, start
    for tick in range(ticks):
        reading = plant.read(state, noise[tick])
        wanted = setpoint.at(tick) if isinstance(setpoint, Profile) else setpoint
        if tick % every == 0:
            goals = () if wanted is None else (wanted,)
            given = Input((reading,), goals, (admitted,), (tick == 0,), every if tick else 1)
            (command,), memory, _ = law.update(memory, given)
            reach = slew * given.elapsed
            admitted = min(max(command, low, admitted - reach), high, admitted + reach)
        delivered = round(admitted / quantum) * quantum if quantum else admitted
        rows[tick] = reading, math.nan if wanted is None else wanted, command, admitted, delivered
        state = plant.step(state, delivered)
    return SimulatedRun(*rows.T)
