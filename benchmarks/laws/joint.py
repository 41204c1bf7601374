"""The tasks of laws with two readings for one knob, beside a PI controller that sees only the first."""

from __future__ import annotations

import math

from benchmarks.laws.plants import Guarded, Loaded, Nested, Switching
from benchmarks.laws.tasks import Task, clean, conditions
from homeostat.laws import PID, Affine, Cascade, FeedForward, GainSchedule, Law, MatrixPI, Select

HOW = {"ticks": 800, "low": -30.0, "high": 30.0}


def alone(gain: float, time: float) -> Law:
    """Return PI action on the first of two readings."""
    return MatrixPI(gain=((gain, 0.0),), integral=((gain / time, 0.0),), tracking_time=time)


def nested() -> Task:
    """A load within the fast of two lags."""
    laws: dict[str, Law] = {
        "PI on the slow reading": alone(4.0, 40.0),
        "Cascade": Cascade(outer=PID(gain=4.0, integral_time=40), inner=PID(gain=4.0, integral_time=4)),
    }
    how = {**HOW, "setpoint": (1.0, 0.0)}
    return Task("A load within a fast lag", lambda g: Nested(gain=g), laws, (1.0, math.nan), how, conditions(1.0))


def loaded() -> Task:
    """A load that is measured."""
    pi = PID(gain=2.0, integral_time=20)
    laws: dict[str, Law] = {
        "PI": alone(2.0, 20.0),
        "FeedForward": FeedForward(feedback=pi, forward=Affine(gain=1.0)),
    }
    how = {**HOW, "setpoint": (1.0, 0.0)}
    return Task("A measured load", lambda g: Loaded(gain=g), laws, (1.0, math.nan), how, {"clean": clean})


def guarded() -> Task:
    """A second reading that must not rise above 0.6; it is the one judged."""
    laws: dict[str, Law] = {
        "PI on the wanted reading": alone(1.0, 20.0),
        "Select": Select(laws=(PID(gain=1.0, integral_time=20), PID(gain=1.0, integral_time=10))),
    }
    how = {**HOW, "setpoint": (1.0, 0.6)}
    return Task("A limit on a second reading", lambda g: Guarded(gain=g), laws, (math.nan, 0.6), how, {"clean": clean})


def switching() -> Task:
    """A gain that rises tenfold with a quantity that is measured."""
    slow, fast = PID(gain=0.4, integral_time=20), PID(gain=4.0, integral_time=20)
    laws: dict[str, Law] = {
        "PI, for the small gain": alone(4.0, 20.0),
        "PI, for the large gain": alone(0.4, 20.0),
        "GainSchedule": GainSchedule(points=((0.0, fast), (1.0, slow))),
    }
    how = {**HOW, "setpoint": (1.0, 0.0)}
    return Task("A gain that changes", lambda g: Switching(gain=g), laws, (1.0, math.nan), how, {"clean": clean})
