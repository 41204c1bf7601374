"""Margins and poles of a loop before it is closed."""

from __future__ import annotations

import math

import numpy as np

from homeostat.dynamics.margins import Margins, margins_of, pid_pulse, series
from homeostat.dynamics.model import PlantModel, Pulse
from homeostat.dynamics.rules import Gains
from homeostat.errors import AnalysisError
from homeostat.laws import EMA, PID, Affine, Chain, Law


def margins(law: Law, model: PlantModel, *, every: int) -> Margins:
    """Return how far the loop of `law` on `model` is from instability, exactly for decisions every `every` ticks.

    Dead bands, limits and quantisation are left out; a PID with `log_error` needs a model of the reading's logarithm.

    Args:
        law: a PID, or a Chain of one with EMA and Affine.
        model: of the reading over the knob's coordinate.
        every: ticks between two decisions.

    Raises:
        AnalysisError: the law is not linear, or `every` is less than 1 or not the model's.
    """
    plant = model.pulse(every)
    return margins_of(series(law_pulse(law, every), plant), every)


def law_pulse(law: Law, every: int) -> Pulse:
    """Return the transfer from error to command of a linear law.

    Raises:
        AnalysisError: the law is not linear.
    """
    match law:
        case PID():
            reset = math.inf if law.integral_time is None else law.integral_time
            gains = Gains(law.gain, reset, law.derivative_time)
            return pid_pulse(gains, every, derivative_filter=law.derivative_filter)
        case EMA():
            kept = math.exp(-every / law.time_constant)
            return Pulse(np.array([1 - kept]), np.array([1.0, -kept]))
        case Affine():
            return Pulse(np.array([law.gain]), np.array([1.0]))
        case Chain():
            whole = Pulse(np.array([1.0]), np.array([1.0]))
            for member in law.laws:
                whole = series(whole, law_pulse(member, every))
            return whole
        case _:
            msg = (
                f"Margins must be asked of PID, EMA, Affine or a Chain of them; got {type(law).__name__}. Simulate it."
            )
            raise AnalysisError(msg)
