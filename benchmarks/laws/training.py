"""The tasks that look like training: a penalty, a gap, a capacity, a loss to be made small."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from benchmarks.laws.plants import Penalised
from benchmarks.laws.tasks import Task, clean, conditions, other
from benchmarks.peers import LIBRARY_RATE, PublishedADA, PublishedGreedy, PublishedKL, PublishedTCP, TorchPlateau
from homeostat.laws import (
    AIMD,
    EMA,
    PID,
    Chain,
    DeadBand,
    ExtremumSeeking,
    Hold,
    Law,
    LogIntegrator,
    LossRatchet,
    Plateau,
    Schedule,
    SignIntegrator,
)
from homeostat.profile import Profile
from homeostat.simulation import (
    AnyPlant,
    DropoutGap,
    EdgeOfStability,
    FirstOrder,
    Optimum,
    QuadraticAdam,
    QuadraticSGD,
)


def divergence() -> Task:
    """Adaptive KL's own ground."""
    ours = LogIntegrator(exponent=-1)
    laws: dict[str, Law] = {
        "peer: adaptive KL, as in libraries": PublishedKL(rate=LIBRARY_RATE),
        "peer: adaptive KL, as published": PublishedKL(),
        "LogIntegrator (default)": ours,
        "EMA, LogIntegrator": Chain(laws=(EMA(time_constant=3), ours)),
        "PID, log_error": PID(gain=-1, integral_time=30, log_error=True),
        "SignIntegrator": SignIntegrator(rate=-0.02),
    }
    how = {"ticks": 1000, "low": -10.0, "high": 10.0}
    found = conditions(1.0, dead_time=5)
    for time in (10, 100):
        found[f"time constant {time} instead of 30"] = partial(other, time_constant=time)
    return Task("Divergence under a penalty", lambda g: Penalised(gain=g), laws, (1.0,), how, found)


def dropout_gap() -> Task:
    """Overfitting, steered by dropout; with a tenth of the gap the setpoint is out of reach."""
    laws: dict[str, Law] = {
        "peer: ADA": PublishedADA(),
        "SignIntegrator at ADA's rate": SignIntegrator(rate=-PublishedADA().batch * 4 / 500_000),
        "SignIntegrator": SignIntegrator(rate=-0.005),
        "PID": PID(gain=-0.5, integral_time=30),
        "DeadBand, PID": Chain(
            laws=(DeadBand(below=0.1, above=0.1, rest=0.03), PID(gain=-0.5, integral_time=30, dead_band=0.03))
        ),
    }
    how = {"ticks": 2000, "low": 0.0, "high": 0.95}
    return Task("Generalisation gap", lambda g: DropoutGap(optimism=g), laws, (0.5,), how, conditions(0.5))


def edge() -> Task:
    """Sharpness at the edge of stability, which is 2 over the learning rate; the gain is the sharpening's."""
    laws: dict[str, Law] = {
        "LogIntegrator": LogIntegrator(exponent=-1, integral_time=1000, lead=0),
        "PID, log_error": PID(gain=-0.3, integral_time=300, log_error=True),
        "SignIntegrator": SignIntegrator(rate=-0.0003),
    }
    how = {"ticks": 6000, "start": math.log(0.3), "low": math.log(0.1), "high": 0.0}

    def plant(g: float) -> AnyPlant:
        return EdgeOfStability(sharpening=0.002 * g, sharpness=4.0)

    return Task("Edge of stability", plant, laws, (3.0,), how, {"clean": clean})


def capacity() -> Task:
    """A knob that should be as high as an unknown capacity allows; the reading is the load on it."""
    laws: dict[str, Law] = {
        "peer: TCP": PublishedTCP(),
        "AIMD": AIMD(increase=1.0, pause=3),
        "AIMD, cuts of a tenth": AIMD(increase=1.0, factor=0.9, pause=3),
        "PID": PID(gain=0.5, integral_time=4),
    }
    how = {"ticks": 1500, "start": 1.0, "low": 1.0, "high": 10_000.0}
    return Task("Capacity of 100", lambda g: FirstOrder(gain=g, time_constant=2), laws, (100.0,), how, conditions(50.0))


def optimum() -> Task:
    """A parabola behind a lag; the gain is its curvature."""
    laws: dict[str, Law] = {
        "Hold": Hold(),
        "ExtremumSeeking": ExtremumSeeking(amplitudes=(0.3,), period=40, delay=5),
        "Plateau": Plateau(step=-0.5, patience=30),
        "LossRatchet": LossRatchet(step=0.05),
    }
    how = {"ticks": 2000, "start": 2.0, "low": -5.0, "high": 5.0}

    def plant(g: float) -> AnyPlant:
        return Optimum(curvature=(g,), time_constant=5, start=(2.0,))

    return Task("Optimum", plant, laws, (0.0,), how, conditions(1.0))


def sgd(gain: float) -> AnyPlant:
    """SGD on a quadratic."""
    return QuadraticSGD(curvatures=(gain, 0.1 * gain))


def adam(gain: float) -> AnyPlant:
    """Adam on it."""
    return QuadraticAdam(curvatures=(gain, 0.1 * gain))


def descent(title: str, plant: Callable[[float], AnyPlant], rate: float) -> Task:
    """A noisy quadratic that begins at a tenth of a good learning rate; the gain scales its curvatures."""
    begin = math.log(rate)
    laws: dict[str, Law] = {
        "Hold": Hold(),
        "Schedule": Schedule(profile=Profile(points=((0, begin + 2), (1000, begin - 3)))),
        "peer: ReduceLROnPlateau": TorchPlateau(),
        "peer: GreedyLR": PublishedGreedy(),
        "Plateau": Plateau(step=-math.log(10), patience=10),
        "EMA, Plateau": Chain(laws=(EMA(time_constant=30), Plateau(patience=60))),
        "ExtremumSeeking": ExtremumSeeking(amplitudes=(0.5,), period=40, delay=5),
        "LossRatchet": LossRatchet(step=0.05),
    }
    how = {"ticks": 1000, "start": begin, "low": math.log(1e-5), "high": 0.0}
    return Task(title, plant, laws, (0.0,), how, {"noisy gradients": clean})
