"""Whether a setpoint can be reached, before a loop is closed."""

from __future__ import annotations

import math
from typing import NamedTuple

from homeostat.dynamics.model import IntegratorModel, Model
from homeostat.errors import AnalysisError


class Feasibility(NamedTuple):
    """What limits allow.

    Attributes:
        feasible: whether the setpoint can be held.
        lowest: least reading that can be held.
        highest: greatest reading that can be held.
        knob: position that holds the setpoint (of an integrator: any reading); outside the limits if infeasible, NaN
            where no position does.
        reason: one sentence.
    """

    feasible: bool
    lowest: float
    highest: float
    knob: float
    reason: str


def feasibility(model: Model, setpoint: float, *, low: float, high: float) -> Feasibility:
    """Tell whether `setpoint` can be held by a knob between `low` and `high`, in the actuator's coordinate.

    A self-regulating plant rests at offset + gain knob. An integrator can be brought anywhere, and held there, if
    its balance lies strictly between the limits; else it runs to one side. Of a log-scaled knob give the limits'
    logarithms, of a model with `log_reading` the setpoint's.

    Raises:
        AnalysisError: the limits are in the wrong order, or something is not a number.
    """
    if not low < high or math.isnan(setpoint):
        msg = (
            f"low must be below high, setpoint a number; got {low:g}, {high:g} and {setpoint:g}. Swap or widen limits."
        )
        raise AnalysisError(msg)
    if isinstance(model, IntegratorModel):
        knob = model.balance if model.slope else math.nan
        reached = (-math.inf, math.inf) if low < knob < high else (math.nan, math.nan)
        feasible = low < knob < high
        where = "can be held" if feasible else "runs away whatever the knob does"
        reason = f"The reading stands still at knob {knob:.4g}, limits [{low:.4g}, {high:.4g}]: it {where}."
        return Feasibility(feasible, *reached, knob, reason)
    lowest, highest = sorted((model.offset + model.gain * low, model.offset + model.gain * high))
    knob = (setpoint - model.offset) / model.gain if model.gain else math.nan
    feasible = lowest <= setpoint <= highest
    reason = f"Limits [{low:.4g}, {high:.4g}] hold readings in [{lowest:.4g}, {highest:.4g}]; wanted {setpoint:.4g}"
    reason += "." if feasible else f", which needs the knob at {knob:.4g}. Widen the limits or move the setpoint."
    return Feasibility(feasible, lowest, highest, knob, reason)
