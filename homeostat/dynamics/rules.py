"""Tuning rules: from a model to the gains of a PID."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from homeostat.dynamics.model import IntegratorModel, Model, SecondOrderModel, check_period
from homeostat.errors import AnalysisError

SimpleRule = Literal["simc", "simc_pid", "lambda", "pole_placement"]

# Wanted closed-loop time over effective dead time, where none is given.
USUAL: dict[SimpleRule, float] = {"simc": 1.0, "simc_pid": 0.5, "lambda": 3.0, "pole_placement": 2.0}


class Gains(NamedTuple):
    """Of a PID in ideal form: gain, integral and derivative time (ticks)."""

    gain: float
    integral_time: float
    derivative_time: float = 0.0


class Reduced(NamedTuple):
    """What simple rules see of a plant.

    Attributes:
        slope: gain over lag, the reading's initial rate.
        lag: dominant time constant; infinite for an integrator.
        delay: dead time, the hold's half period and half of the second time constant.
    """

    slope: float
    lag: float
    delay: float


def reduce(model: Model, every: int) -> Reduced:
    """Reduce a model to lag and delay by Skogestad's half rule; the hold delays by every / 2 on average.

    A swinging plant counts as two equal lags with the same sum (2 damping T).

    Raises:
        AnalysisError: the plant does not answer its knob, or `every` is less than 1.
    """
    check_period(every)
    delay = model.dead_time + every / 2
    if isinstance(model, IntegratorModel):
        found = Reduced(model.slope, math.inf, delay)
    elif isinstance(model, SecondOrderModel):
        split = math.sqrt(max(model.damping**2 - 1, 0.0))
        slow, fast = (model.time_constant * (model.damping + s) for s in (split, -split))
        found = Reduced(model.gain / (slow + fast / 2), slow + fast / 2, delay + fast / 2)
    else:
        found = Reduced(model.gain / model.time_constant, model.time_constant, delay)
    if found.slope == 0:
        msg = "A plant must answer its knob to be steered by it; got a gain of 0. Choose another knob."
        raise AnalysisError(msg)
    return found


def gains(
    model: Model,
    *,
    rule: SimpleRule = "simc",
    every: int = 1,
    closed_loop_time: float | None = None,
    damping: float = 0.7,
) -> Gains:
    """Return the gains that `rule` gives for `model` with a decision every `every` ticks.

    With slope v, lag T and delay L of the reduced model, and the wanted closed-loop time t:

    simc            K = 1 / (v (t + L)), Ti = min(T, 4 (t + L)); t = L by default
    simc_pid        the same with Td = L / 3 in series form, converted to the ideal form; t = L / 2 by default
    lambda          K = 1 / (v (t + L)), Ti = T; an integrator: K = Ti / (v (t + L)^2), Ti = 2 t + L; t = 3 L by default
    pole_placement  dominant poles at t^2 s^2 + 2 damping t s + 1 = 0, the dead time as 1 - L s; t = 2 L by default

    Raises:
        AnalysisError: a plant without gain, or poles that a PI controller cannot place with this dead time.

    Source: S. Skogestad, Simple analytic rules for model reduction and PID controller tuning, J. Process Control 13
    (2003); C. Grimholt and S. Skogestad, The improved SIMC method for PI control, IFAC Conf. Advances in PID Control
    (2012); K. J. Åström and T. Hägglund, Advanced PID Control, 2006, chapter 6.
    """
    slope, lag, delay = plant = reduce(model, every)
    wanted = USUAL[rule] * delay if closed_loop_time is None else closed_loop_time
    if rule == "pole_placement":
        return _place(plant, 1 / wanted, damping)
    gain = 1 / (slope * (wanted + delay))
    if rule == "lambda":
        reset = 2 * wanted + delay
        return Gains(gain, lag) if math.isfinite(lag) else Gains(gain * reset / (wanted + delay), reset)
    series = Gains(gain, min(lag, 4 * (wanted + delay)))
    return series if rule == "simc" else _ideal(series._replace(derivative_time=delay / 3))


def _ideal(series: Gains) -> Gains:
    """Convert K (1 + 1 / (Ti s)) (1 + Td s) to K' (1 + 1 / (Ti' s) + Td' s)."""
    both = series.integral_time + series.derivative_time
    share = series.integral_time / both
    return Gains(series.gain / share, both, series.derivative_time * share)


def _place(plant: Reduced, frequency: float, damping: float) -> Gains:
    """Match s (s + 1 / T) + k (s + 1 / Ti) (1 - L s) to s^2 + 2 damping frequency s + frequency^2."""
    leak, pull, square = 1 / plant.lag, 2 * damping * frequency, frequency**2
    proportional = (pull + square * plant.delay - leak) / (1 + pull * plant.delay + square * plant.delay**2)
    integral = square * (1 - proportional * plant.delay)
    if proportional <= 0 or integral <= 0:
        msg = (
            f"Poles must be faster than the plant's own and slower than its dead time to be placed by PI; got a "
            f"closed-loop time of {1 / frequency:.3g} ticks for a lag of {plant.lag:.3g} and a delay of "
            f"{plant.delay:.3g}. Choose another closed_loop_time, or the rule 'simc'."
        )
        raise AnalysisError(msg)
    return Gains(proportional / plant.slope, proportional / integral)
