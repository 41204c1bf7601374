"""What a loop, or a whole run, did after a change: a new setpoint, a disturbance."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from homeostat.analysis.vitals import SETTLED, SIGMAS
from homeostat.analysis.vitals_course import Array
from homeostat.analysis.vitals_indices import FEWEST, MAD_TO_SIGMA, forecast

# A median over these decisions takes single outliers for what they are.
NEIGHBOURS = 5


class Response(NamedTuple):
    """How a loop answered a change.

    Attributes:
        peak: greatest |error|, in the units of the error; after a change of setpoint usually its size.
        overshoot: greatest error on the other side, over the greatest before it came there; 0 where it stays within the
            band. Above 1 the answer was worse than the change.
        settling: ticks from the change until the error stays within the band; infinite where it does not.
        iae: integral of |error| over the ticks.
        band: half width of the band.
    """

    peak: float
    overshoot: float
    settling: float
    iae: float
    band: float


class Recovery(NamedTuple):
    """How a run came back from a disturbance, beside a twin that had none.

    Attributes:
        ticks: from the disturbance until the loss stays within the twin's band; infinite where it does not.
        peak: greatest excess of the loss over the twin's; infinite where the loss was no number.
        area: integral of the excess over the ticks.
        band: the greatest excess that counts as recovered.
    """

    ticks: float
    peak: float
    area: float
    band: float


def response(tick: Array, errors: Array, *, at: float, until: float = math.inf, band: float | None = None) -> Response:
    """Measure how a loop answered what happened at a tick: a change of setpoint, or a disturbance.

    With e the error from `at` to `until`: peak = max |e|; overshoot = max of -s e / max of s e before e first leaves
    the band on the side of -s, where s is the sign of the first error outside of the band; after a step of the setpoint
    this is the textbook's. IAE = sum |e(t_i)| (t_(i+1) - t_i). Settled is the error from where the median of 5
    neighbours never again leaves the band, so that one outlier is no relapse.

    Args:
        tick: of each decision, shape (n,), increasing.
        errors: setpoint minus reading, or the difference of their logarithms, shape (n,), finite.
        at: tick of the change.
        until: tick at which the next thing happens; left out itself.
        band: half width of the settling band; by default 2 % of the peak, or 3 standard deviations of the noise since
            the change (`Forecast.noise`) where that is more and 20 decisions tell it.

    Raises:
        ValueError: errors that do not fit the ticks or are not finite, ticks that do not increase, or none from `at` to
            `until`.
    """
    _refuse_unfit(tick, errors, at, until)
    after = (tick >= at) & (tick < until)
    e, t = errors[after], tick[after]
    peak = float(np.abs(e).max())
    if band is None:
        noise = forecast(e).noise if len(e) >= FEWEST else 0.0
        band = max(SETTLED * peak, SIGMAS * noise)
    return Response(
        peak=peak,
        overshoot=_overshoot(e, band),
        settling=_settled(t, np.abs(running_median(e, NEIGHBOURS)) <= band) - at,
        iae=float((np.abs(e[:-1]) * np.diff(t)).sum()),
        band=band,
    )


def recovery(tick: Array, loss: Array, twin: Array, *, at: float, window: int = 11) -> Recovery:
    """Measure how a run came back from a disturbance, beside the same run without it.

    Both losses are smoothed by a running median over `window` records. The twin's band is 3 standard deviations of the
    noise in its own loss (the median of |change from record to record|, scaled for normal noise). The run has recovered
    from where its smoothed loss never again exceeds the twin's by more; a lower loss is no fault. A loss that is no
    number counts as infinite.

    Args:
        tick: of each record, shape (n,), increasing.
        loss: of the disturbed run, shape (n,).
        twin: of the undisturbed run at the same ticks, shape (n,), finite.
        at: tick of the disturbance.
        window: records of a running median, odd.

    Raises:
        ValueError: shapes that differ, a twin that is not finite, no record at `at` or later, an even window.
    """
    if window < 1 or window % 2 == 0:
        msg = f"A recovery's window must be odd and positive; got {window}. Use 11, or {abs(window) + 1}."
        raise ValueError(msg)
    _refuse_unfit(tick, twin, at, math.inf)
    if loss.shape != twin.shape:
        msg = f"A loss and its twin's must have one shape; got {loss.shape} and {twin.shape}. Record both alike."
        raise ValueError(msg)
    smooth = running_median(twin, window)
    band = SIGMAS * MAD_TO_SIGMA * float(np.median(np.abs(np.diff(twin)))) / math.sqrt(2)
    after = tick >= at
    excess = (running_median(np.where(np.isfinite(loss), loss, np.inf), window) - smooth)[after]
    t = tick[after]
    return Recovery(
        ticks=_settled(t, excess <= band) - at,
        peak=float(excess.max()),
        area=float((np.maximum(excess[:-1], 0.0) * np.diff(t)).sum()),
        band=band,
    )


def running_median(values: Array, window: int) -> Array:
    """Return the median over `window` neighbours, an odd number, of each value; over fewer at the ends."""
    half = window // 2
    edge = np.full(half, np.nan)
    around = np.lib.stride_tricks.sliding_window_view(np.concatenate([edge, values, edge]), window)
    return np.asarray(np.nanmedian(around, axis=1), dtype=np.float64)


def _overshoot(errors: Array, band: float) -> float:
    outside = np.flatnonzero(np.abs(errors) > band)
    side = np.sign(errors[outside])
    if not len(outside) or (side == side[0]).all():
        return 0.0
    crossed = outside[int((side != side[0]).argmax())]
    return float(np.max(-side[0] * errors[crossed:]) / np.max(side[0] * errors[:crossed]))


def _settled(tick: Array, inside: NDArray[np.bool_]) -> float:
    """Return the tick from which on all is inside; infinite where the last is not."""
    if not inside[-1]:
        return math.inf
    outside = np.flatnonzero(~inside)
    return float(tick[outside[-1] + 1] if len(outside) else tick[0])


def _refuse_unfit(tick: Array, values: Array, at: float, until: float) -> None:
    if tick.ndim != 1 or tick.shape != values.shape or not np.isfinite(values).all():
        msg = (
            "Errors, or a twin's losses, must be one finite value a tick; "
            f"got shapes {tick.shape} and {values.shape}, {int((~np.isfinite(values)).sum())} values not finite. "
            "Leave held decisions out."
        )
        raise ValueError(msg)
    if not (np.diff(tick) > 0).all():
        msg = f"Ticks must increase; got {int((np.diff(tick) <= 0).sum())} that do not. Sort them and drop repeats."
        raise ValueError(msg)
    if not ((tick >= at) & (tick < until)).any():
        msg = f"A response must be recorded after its change; got none from {at} to {until}. Let the run go on."
        raise ValueError(msg)
