"""The same law in other units: what "gains scaled" means for every kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from homeostat.laws import (
    CUSUM,
    EMA,
    PID,
    Cascade,
    Chain,
    DeadBand,
    FeedForward,
    GainSchedule,
    Kalman,
    Law,
    Median,
    Schedule,
    Select,
    SlewLimit,
    SmithPredictor,
)

# Their commands are readings (or, for SlewLimit, their readings positions): both sides have one unit.
FILTERS: tuple[type[Law], ...] = (EMA, Median, Kalman, CUSUM, DeadBand, SlewLimit)


def in_units(law: Law, reading: float, position: float) -> Law:
    """Return `law` for readings and setpoints that are `reading` times as many, and positions `position` times."""
    return SCALED[type(law).__name__](law, reading, position)


def _copy(law: Law, **factors: float) -> Law:
    """Multiply fields; through validation, so that what no field can hold is noticed."""
    fields = {name: _times(getattr(law, name), factor) for name, factor in factors.items()}
    return type(law).model_validate({name: getattr(law, name) for name in type(law).model_fields} | fields)


def _times(value: Any, factor: float) -> Any:
    if isinstance(value, tuple):
        return tuple(_times(item, factor) for item in value)
    return None if value is None else value * factor


def _pid(law: PID, r: float, p: float) -> Law:
    return _copy(law, gain=p) if law.log_error else _copy(law, gain=p / r, dead_band=r)


def _dead_band(law: DeadBand, r: float, p: float) -> Law:
    del p
    return law if law.log else _copy(law, below=r, above=r, rest=r)


def _chain(law: Chain, r: float, p: float) -> Law:
    """Readings are readings up to the first law that is no filter; what follows it sees positions."""
    turning = next((i for i, each in enumerate(law.laws) if not is_filter(each)), len(law.laws))
    units = [(r, r) if i < turning else (r, p) if i == turning else (p, p) for i in range(len(law.laws))]
    return Chain(laws=tuple(in_units(each, *pair) for each, pair in zip(law.laws, units, strict=True)))


def is_filter(law: Law) -> bool:
    return isinstance(law, FILTERS) or (isinstance(law, Chain) and all(map(is_filter, law.laws)))


def _schedule(law: Schedule, r: float, p: float) -> Law:
    del r
    points = tuple((tick, value * p) for tick, value in law.profile.points)
    return Schedule(profile=law.profile.model_copy(update={"points": points}))


def _cascade(law: Cascade, r: float, p: float) -> Law:
    outer, inner = in_units(law.outer, r, r), in_units(law.inner, r, p)
    return Cascade(outer=outer, inner=inner, low=_times(law.low, r), high=_times(law.high, r))


def _smith_predictor(law: SmithPredictor, r: float, p: float) -> Law:
    return _copy(law, gain=r / p).model_copy(update={"law": in_units(law.law, r, p)})


def _feed_forward(law: FeedForward, r: float, p: float) -> Law:
    return FeedForward(feedback=in_units(law.feedback, r, p), forward=in_units(law.forward, r, p))


def _gain_schedule(law: GainSchedule, r: float, p: float) -> Law:
    return GainSchedule(points=tuple((at * r, in_units(each, r, p)) for at, each in law.points))


def _select(law: Select, r: float, p: float) -> Law:
    return Select(laws=tuple(in_units(each, r, p) for each in law.laws), choose=law.choose)


def _state_feedback(law: Any, r: float, p: float) -> Law:
    matrices = {"output_matrix": r, "input_matrix": 1 / p}
    model = law.model.model_copy(update={name: _times(getattr(law.model, name), by) for name, by in matrices.items()})
    return _copy(law, tolerances=r, noise=r, efforts=p).model_copy(update={"model": model})


def _auto_tune(law: Any, r: float, p: float) -> Law:
    return law.model_copy(update={"test": in_units(law.test, r, p)})


def _fields(**units: str) -> Callable[[Any, float, float], Law]:
    """Multiply each field by its unit, a product of r (readings) and p (positions)."""
    powers = {"r": (1, 0), "p": (0, 1), "p/r": (-1, 1), "1/p": (0, -1)}
    return lambda law, r, p: _copy(law, **{n: r ** powers[u][0] * p ** powers[u][1] for n, u in units.items()})


SCALED: dict[str, Callable[[Any, float, float], Law]] = {
    "AIMD": _fields(increase="p", floor="p"),
    "Affine": _fields(gain="p/r", offset="p"),
    "AutoTune": _auto_tune,
    "CUSUM": _fields(noise="r"),
    "Cascade": _cascade,
    "Chain": _chain,
    "DeadBand": _dead_band,
    "DualAveraging": _fields(gain="p/r"),
    "EMA": _fields(),
    "ExtremumSeeking": _fields(amplitudes="p"),
    "FeedForward": _feed_forward,
    "GainSchedule": _gain_schedule,
    "Hold": _fields(),
    "Kalman": _fields(noise="r", drift="r", trend_drift="r"),
    "LogIntegrator": _fields(exponent="1/p"),
    "LossRatchet": _fields(step="p"),
    "MatrixPI": _fields(gain="p/r", integral="p/r"),
    "Median": _fields(),
    "PID": _pid,
    "Plateau": _fields(step="p"),
    "RelayTest": _fields(amplitude="p", hysteresis="r", low="r", high="r"),
    "Schedule": _schedule,
    "Select": _select,
    "SelfTuning": lambda law, r, p: _copy(law, gain=r / p, noise=r),
    "SignIntegrator": _fields(rate="p", dead_band="r"),
    "SlewLimit": _fields(rate="p"),
    "SmithPredictor": _smith_predictor,
    "StateFeedback": _state_feedback,
    "StepTest": _fields(amplitude="p", low="r", high="r"),
    "Threshold": _fields(low="r", high="r", above="p", below="p"),
    "Ultrastable": _fields(low="r", high="r", rates="p"),
}
