"""The vitals of loops: how well each holds its setpoint, in numbers free of units, and one index over all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from homeostat.analysis.vitals_course import Array, Course, course_of_columns, course_of_records
from homeostat.analysis.vitals_indices import FEWEST, forecast, oscillation_index
from homeostat.trace import LoopVitals, Trace, Vitals

# Of a setpoint, or of a step: the settling band of the textbooks.
SETTLED = 0.02
# Of noise that is normal, 0.3 % lies outside.
SIGMAS = 3.0


class Frame(NamedTuple):
    """What a loop's parts say about how it is to be judged.

    Attributes:
        log: errors are logarithms, ln(setpoint / reading), as in the law.
        below: distance under the setpoint that the law leaves alone; in units of the error.
        above: distance over the setpoint that it leaves alone.
        settling: tick after which it leaves alone any reading under the setpoint.
        spans: for each knob, the ends of its range and whether its scale is logarithmic.
        ignored: how many of the last readings the law does not hold at the loop's setpoint.
        bounds: for each reading, the ends of the range in which the law keeps it; empty where it follows setpoints.
    """

    log: bool = False
    below: float = 0.0
    above: float = 0.0
    settling: float = math.inf
    spans: tuple[tuple[float, float, bool], ...] = ()
    ignored: int = 0
    bounds: tuple[tuple[float, float], ...] = ()


class Recorded(Protocol):
    """A run that was recorded: what `homeostat.sinks.read_run` returns."""

    @property
    def description(self) -> Mapping[str, Any]:
        """Its recipe."""

    @property
    def loops(self) -> Mapping[str, Mapping[str, Array]]:
        """Columns of each loop, as `Trace.loop` names them."""


def frame(parts: Mapping[str, Any]) -> Frame:
    """Return what a loop's parts, as JSON data, say about how it is to be judged.

    Logarithms count where its law, or a member of it, has `log_error` or `log` or is a `LogIntegrator`; a dead band is
    the largest that a member declares. A `FeedForward` and a `GainSchedule` only watch their last reading, and a
    `Cascade` moves the setpoint of its inner one, so that these are not judged. An `Ultrastable` has bounds.
    """
    law, ignored = _holding(parts.get("law", {}))
    laws = list(_members(law))
    bands = [law["dead_band"] for law in laws if isinstance(law.get("dead_band"), (int, float))]
    waking = [law for law in laws if law.get("kind") == "DeadBand"]
    return Frame(
        log=any(True in (law.get("log_error"), law.get("log"), law.get("kind") == "LogIntegrator") for law in laws),
        below=max([0.0, *bands, *(law["below"] for law in waking)]),
        above=max([0.0, *bands, *(law["above"] for law in waking)]),
        settling=min([math.inf, *(law["settling"] for law in waking if law.get("settling") is not None)]),
        spans=tuple((a["low"], a["high"], a.get("scale") == "log") for a in parts.get("actuators", ()) if "low" in a),
        ignored=ignored,
        bounds=next((tuple(zip(a["low"], a["high"], strict=True)) for a in laws if a.get("kind") == "Ultrastable"), ()),
    )


def loop_vitals(course: Course, frame: Frame, *, delay: int = 1) -> LoopVitals:
    """Judge one loop by what it did.

    The **band** around the setpoint r is as wide as the loop cannot or does not want to hold better: its half width w
    is the greatest of 3 times the standard deviation of the noise that no law could take away (`Forecast.noise`), the
    law's own dead band, and 2 % of r. Noise, since a band in fixed units or in shares of r alone would call a quiet
    loop good and a noisy one bad whatever their laws do; 2 % of r, so that a reading without noise has a band too.

    With the error e = r - y (ln r - ln y where the law takes logarithms), each decision counts min(1, w / |e|): 1 in
    the band, 1 / k where the error is k half widths, 0 without a finite reading. The **regulation** is the mean. Of
    several readings the worst counts at each decision. Where the law keeps readings within bounds, r is their middle
    and w half their distance, or 3 s. A loop **without a setpoint** (a limit, a schedule, one that only watches) wants
    nothing of its reading: a decision counts 1 where the reading was finite and no knob was pressed against a limit,
    else 0; its `in_band` is NaN.

    **Travel** is the sum of |change| of the knob that moved most, in its coordinate, over the width of its range and
    over the ticks.

    Args:
        course: what the loop did.
        frame: how it is to be judged.
        delay: dead time in decisions, plus one; see `harris_index`.

    Returns:
        The vitals; all NaN where there were fewer than 20 decisions.
    """
    if len(course.tick) < FEWEST + delay - 1:
        return LoopVitals(len(course.tick), *[math.nan] * 7)
    finite = np.isfinite(course.readings).all(axis=1)
    course = _judged(course, frame)
    errors = _errors(course, frame.log).T
    series = [e[np.isfinite(e)] for e in errors]
    told = bool(series) and all(len(e) >= FEWEST + delay - 1 for e in series)
    forecasts = [forecast(e, delay) for e in series] if told else []
    if len(errors):
        shares = _shares(course, frame, errors, [f.noise for f in forecasts] or [0.0] * len(errors))
    else:
        shares = (finite & ~course.limited).astype(np.float64)
    return LoopVitals(
        decisions=len(course.tick),
        regulation=float(shares.mean()),
        in_band=float((shares == 1.0).mean()) if len(errors) else math.nan,
        harris=min(f.harris for f in forecasts) if told else math.nan,
        oscillation=max(map(oscillation_index, series)) if told else math.nan,
        saturation=float(course.limited.mean()),
        travel=_travel(course, frame),
        held=float((~finite).mean()),
    )


def joined(tick: int, loops: Mapping[str, LoopVitals]) -> Vitals:
    """Join the vitals of loops: homeostasis is the geometric mean of the regulation of those with something to hold.

    H = (h_1 h_2 ... h_n)^(1 / n), in [0, 1], over the loops with a setpoint (or bounds) and enough decisions.
    Homeostasis is all essential variables within their bounds at once: one that is lost (h = 0) makes H = 0 however
    well the others are, which an arithmetic mean would not; the least alone would not tell one lost loop from many.
    A loop that wants nothing of its reading has no essential variable: it would only dilute the others.
    """
    judged = [v.regulation for v in loops.values() if not math.isnan(v.in_band)]
    if not judged or min(judged) == 0:
        return Vitals(tick, 0.0 if judged else math.nan, loops)
    return Vitals(tick, math.exp(math.fsum(map(math.log, judged)) / len(judged)), loops)


def vitals_later(
    trace: Trace, frames: Mapping[str, Frame], *, tick: int, last: int, delay: int = 1
) -> Callable[[], Vitals]:
    """Return what works out the vitals of a running system as it is now, from records that its trace has in memory.

    Working them out takes milliseconds, which a training step need not wait for.

    Args:
        trace: of the run.
        frames: how each loop is to be judged.
        tick: the present one.
        last: decisions of each loop that count, as far as the trace keeps them.
        delay: as in `loop_vitals`.

    Raises:
        ValueError: `last` is below 20.
    """
    _refuse_few(last)
    records = {name: trace.records(name, last) for name in frames}

    def work_out() -> Vitals:
        loops = {n: loop_vitals(course_of_records(records[n]), frame, delay=delay) for n, frame in frames.items()}
        return joined(tick, loops)

    return work_out


def run_vitals(run: Recorded, *, last: int | None = None, delay: int = 1) -> Vitals:
    """Return the vitals of a recorded run.

    Args:
        run: from `homeostat.sinks.read_run`.
        last: decisions of each loop that count; by default all.
        delay: as in `loop_vitals`.

    Raises:
        ValueError: `last` is below 20.
    """
    _refuse_few(last)
    parts = {loop["name"]: loop for loop in run.description.get("loops", ())}
    names = [name for name in dict.fromkeys([*parts, *run.loops]) if name in run.loops]
    loops = {
        name: loop_vitals(course_of_columns(run.loops[name], last), frame(parts.get(name, {})), delay=delay)
        for name in names
    }
    return joined(int(max((columns["tick"][-1] for columns in run.loops.values()), default=0)), loops)


def _refuse_few(last: int | None) -> None:
    if last is not None and last < FEWEST:
        msg = (
            f"Vitals must be of the last {FEWEST} decisions or more; got last={last}. Leave it out for the usual ones."
        )
        raise ValueError(msg)


def _members(part: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a part's JSON data and that of every part in it."""
    if isinstance(part, Mapping):
        yield part
    values: Iterable[Any] = part.values() if isinstance(part, Mapping) else part
    for value in values:
        if isinstance(value, (Mapping, list, tuple)):
            yield from _members(value)


def _holding(law: Mapping[str, Any]) -> tuple[Mapping[str, Any], int]:
    """Return the part of a law that holds readings at the loop's setpoints, and how many readings after them it leaves.

    Of a `Select` all readings count, also those that have room.
    """
    match law.get("kind"):
        case "Cascade":
            return law["outer"], 1
        case "FeedForward":
            feedback, ignored = _holding(law["feedback"])
            return feedback, ignored + 1
        case "GainSchedule":
            _, ignored = _holding(law["points"][0][1])
            return law, ignored + 1
    return law, 0


def _judged(course: Course, frame: Frame) -> Course:
    """Return the course with the setpoints that its readings are judged by."""
    if frame.bounds:
        middle = np.mean(frame.bounds, axis=1)
        return course._replace(setpoints=np.tile(middle, (len(course.tick), 1)))
    return course._replace(setpoints=course.setpoints[:, : max(0, course.setpoints.shape[1] - frame.ignored)])


def _errors(course: Course, log: bool) -> Array:
    """Return setpoint minus reading, shape (n, setpoints); NaN where the reading says nothing."""
    readings, setpoints = course.readings[:, : course.setpoints.shape[1]], course.setpoints
    if log:
        # A logarithm of zero or less says nothing; the law holds there.
        readings = np.log(np.where(readings > 0, readings, np.nan))
        setpoints = np.log(np.where(setpoints > 0, setpoints, np.nan))
    with np.errstate(over="ignore"):
        errors = setpoints - readings
    return np.asarray(errors, dtype=np.float64)


def _shares(course: Course, frame: Frame, errors: Array, noise: Sequence[float]) -> Array:
    """Return min(1, w / |e|) at each decision, of the worst reading."""
    if frame.bounds:
        width = np.diff(frame.bounds, axis=1) / 2
    else:
        wanted = np.ones_like(errors) if frame.log else np.abs(course.setpoints).T
        below = np.where(course.tick > frame.settling, np.inf, frame.below)
        width = np.maximum(np.where(errors > 0, below, frame.above), SETTLED * wanted)
    width = np.maximum(width, SIGMAS * np.array(noise)[:, None])
    distance = np.abs(errors)
    outside = distance > width
    shares = np.where(outside, width / np.where(outside, distance, 1.0), 1.0)
    worst: Array = np.where(np.isfinite(errors), shares, 0.0).min(axis=0)
    return worst


def _travel(course: Course, frame: Frame) -> float:
    ticks = float(course.tick[-1] - course.tick[0])
    ways = [0.0]
    for values, (low, high, log) in zip(course.delivered.T, frame.spans, strict=False):
        position = np.log(np.maximum(values, 1e-300)) if log else values
        position = position[np.isfinite(position)]
        span = math.log(high / low) if log else high - low
        ways.append(float(np.abs(np.diff(position)).sum()) / span)
    return max(ways) / ticks if frame.spans and ticks > 0 else math.nan
