"""Knobs that move in steps: a window in steps of 16, a batch in powers of two."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from benchmarks.laws.measure import Figures, judge
from benchmarks.laws.plants import Penalised
from benchmarks.laws.tasks import GAINS
from homeostat.laws import (
    PID,
    Chain,
    DeadBand,
    Law,
    LinearModel,
    LogIntegrator,
    MatrixPI,
    SignIntegrator,
    StateFeedback,
)
from homeostat.simulation import AnyPlant, FirstOrder


class Steps(NamedTuple):
    """A plant with a quantised knob, and the laws for it.

    Attributes:
        title: heading of its table.
        plant: the plant whose gain is so many times the assumed one.
        laws: by the name shown.
        goals: setpoints, none of which a step of the knob meets at the assumed gain.
        how: for `simulate`.
        half: what half a quantum is worth of the reading at a gain of 1; a difference of logarithms where `log`.
        log: whether the knob acts by factors.
    """

    title: str
    plant: Callable[[float], AnyPlant]
    laws: Mapping[str, Law]
    goals: tuple[float, ...]
    how: Mapping[str, Any]
    half: float
    log: bool = False


def window() -> Steps:
    """A window of 16 to 4096 in steps of 16, which moves the reading by a hundredth each."""
    half = 0.08
    pi, rest = {"gain": 50.0, "integral_time": 20.0}, {"below": 0.09, "above": 0.09, "rest": 0.085}
    model = LinearModel.first_order(((0.01,),), 20.0, (2,))
    feedback = StateFeedback(model=model, tolerances=(0.1,), efforts=(16.0,), integral_time=40, noise=(0.01,), every=1)
    laws: dict[str, Law] = {
        "PID without a dead band": PID(**pi),
        "PID, dead_band of half a quantum": PID(**pi, dead_band=half),
        "DeadBand, PID": Chain(laws=(DeadBand(**rest), PID(**pi))),
        "DeadBand, MatrixPI": Chain(
            laws=(DeadBand(**rest), MatrixPI(gain=((50.0,),), integral=((2.5,),), tracking_time=20))
        ),
        "DeadBand, StateFeedback": Chain(laws=(DeadBand(**rest), feedback)),
        "SignIntegrator, dead_band of half a quantum": SignIntegrator(rate=1.0, dead_band=half),
    }
    how = {"ticks": 6000, "start": 112.0, "low": 16.0, "high": 4096.0, "quantum": 16.0}
    goals = tuple(np.linspace(1.93, 3.07, 5).tolist())

    def plant(g: float) -> AnyPlant:
        return FirstOrder(gain=0.01 * g, time_constant=20, dead_time=2, level=1.12 * g)

    return Steps("A window in steps of 16", plant, laws, goals, how, half)


def batch() -> Steps:
    """A batch of 1 to 4096 in powers of two, whose reading is inversely proportional to it."""
    half = math.log(2) / 2
    laws: dict[str, Law] = {
        "LogIntegrator without a dead band": LogIntegrator(exponent=-1),
        "LogIntegrator, dead_band of half a quantum": LogIntegrator(exponent=-1, dead_band=half),
        "PID, log_error, dead_band of half a quantum": PID(gain=-1, integral_time=30, log_error=True, dead_band=half),
        "DeadBand, LogIntegrator": Chain(
            laws=(DeadBand(below=0.36, above=0.36, rest=0.35, log=True), LogIntegrator(exponent=-1))
        ),
    }
    how = {"ticks": 2500, "start": math.log(2), "low": 0.0, "high": math.log(4096), "quantum": math.log(2)}
    goals = tuple(np.geomspace(0.02, 0.11, 5).tolist())
    return Steps("A batch in powers of two", lambda g: Penalised(gain=g), laws, goals, how, half, log=True)


def rows(steps: Steps, gains: tuple[float, ...] = GAINS) -> list[dict[str, Any]]:
    """Return for each law and gain the worst steady error in quanta over the goals, and the moves."""
    found = []
    for name, law in steps.laws.items():
        for gain in gains:
            runs = [judge(law, steps.plant(gain), (goal,), **steps.how) for goal in steps.goals]
            quanta = [_quanta(steps, goal, gain, run) for goal, run in zip(steps.goals, runs, strict=True)]
            found.append(
                {
                    "plant": steps.title,
                    "law": name,
                    "gain": gain,
                    "steady_quanta": max(quanta),
                    "within_half": sum(q <= 0.5 for q in quanta),
                    "goals": len(quanta),
                    "moves": float(np.mean([run.moves for run in runs])),
                    "most_moves": max(run.moves for run in runs),
                    "saturation": float(np.mean([run.saturation for run in runs])),
                }
            )
    return found


def _quanta(steps: Steps, goal: float, gain: float, run: Figures) -> float:
    """Return the greatest steady error in quanta of the knob."""
    if steps.log:
        return max(abs(math.log(bound / goal)) for bound in run.range) / (2 * steps.half)
    return run.steady / (2 * steps.half * gain)
