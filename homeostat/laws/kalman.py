"""The filter that knows how much the signal moves and how much the reading errs."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from homeostat.laws.law import Decision, Input, Law, bounded


class KalmanState(NamedTuple):
    """The estimate, and its covariance.

    Attributes:
        level: estimate of the level.
        trend: estimate of its change a tick.
        level_variance: of the level's error.
        covariance: of both errors.
        trend_variance: of the trend's error.
        readings: so far, up to 2.
    """

    level: float = 0.0
    trend: float = 0.0
    level_variance: float = 0.0
    covariance: float = 0.0
    trend_variance: float = 0.0
    readings: int = 0


class Kalman(Law):
    """Answers with the best estimate of the level under the reading's noise.

    reading = level + noise * N(0, 1); in a tick the level moves by trend + drift * N(0, 1), and the trend by
    trend_drift * N(0, 1) (continuous-time noise, so that the answer is right for any `elapsed`). Without `trend_drift`
    there is no trend: the local-level model, an average that is plain at first and ends as an EMA with a share of
    about drift / noise a tick. With it, the local linear trend: no lag behind a ramp.

    Nothing is assumed of the start: the first reading is the first answer, and the first two give the trend. With the
    true noises it is the estimate of least mean square error among all linear ones; only their ratios matter to it.

    Terms: "gain", the share of the innovation that is taken; "innovation"; "trend".

    Attributes:
        noise: standard deviation of a reading, in its units.
        drift: standard deviation of the level's change in a tick.
        trend_drift: standard deviation of the trend's change in a tick; None for no trend.

    Source: A. C. Harvey, Forecasting, Structural Time Series Models and the Kalman Filter, 1989, chapters 3 and 4.
    """

    noise: float = Field(ge=1e-50, le=1e50)
    drift: float = Field(ge=0, le=1e50)
    trend_drift: float | None = Field(default=None, ge=0, le=1e50)

    def init(self) -> KalmanState:
        """Return the state without a reading."""
        return KalmanState()

    def update(self, state: KalmanState, given: Input) -> Decision:
        """Answer with the level, this reading included."""
        reading = bounded(given.readings[0])
        if state.readings == 0:
            return Decision((reading,), KalmanState(reading, level_variance=self.noise**2, readings=1), {})
        if state.readings == 1 and self.trend_drift is not None:
            return Decision((reading,), self._second(state, reading, given.elapsed), {})
        level, trend, p, c, v, _ = self._predict(state, given.elapsed)
        innovation = reading - level
        total = p + self.noise**2
        gain, trend_gain = p / total, c / total
        level = bounded(level + gain * innovation)
        trend = bounded(trend + bounded(trend_gain * innovation))
        # Differences of what is nearly alike: rounding must not make a variance negative.
        after = KalmanState(level, trend, p * (1.0 - gain), c * (1.0 - gain), max(0.0, v - c * trend_gain), 2)
        return Decision((level,), after, {"gain": gain, "innovation": innovation, "trend": trend})

    def _predict(self, state: KalmanState, elapsed: int) -> KalmanState:
        """Return the state `elapsed` ticks later, without the reading then."""
        level, trend, p, c, v, readings = state
        q, t = self.drift**2, (self.trend_drift or 0.0) ** 2
        return KalmanState(
            bounded(level + bounded(trend * elapsed)),
            trend,
            p + 2 * c * elapsed + v * elapsed**2 + q * elapsed + t * elapsed**3 / 3,
            c + v * elapsed + t * elapsed**2 / 2,
            v + t * elapsed,
            readings,
        )

    def _second(self, state: KalmanState, reading: float, elapsed: int) -> KalmanState:
        """Return the state after two readings, the limit of a start with infinite variance of the trend."""
        r, q, t = self.noise**2, self.drift**2, (self.trend_drift or 0.0) ** 2
        variance = (2 * r + q * elapsed) / elapsed**2 + t * elapsed / 3
        return KalmanState(reading, (reading - state.level) / elapsed, r, r / elapsed, variance, 2)
