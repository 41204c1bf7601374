"""A number that follows a planned course over the ticks of a run."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Literal, Self

from pydantic import Field, model_validator

from homeostat.part import Part


class Profile(Part):
    """A value that is a function of the tick alone; serves as a moving setpoint and as an open-loop schedule.

    Between two points (t0, v0) and (t1, v1), with s = (t - t0) / (t1 - t0):
    linear  v0 + s (v1 - v0);  log  v0 (v1 / v0)^s;  cosine  v1 + (v0 - v1) (1 + cos(pi s)) / 2;  step  v0;
    power   v0 (v1 / v0)^(ln(t / t0) / ln(t1 / t0)), a straight line where both axes are logarithmic.
    Before the first point and after the last the value is constant.

    Where `final` is given and the length of the run is known, the course is multiplied by a cosine from 1 at the
    start to `final` at the end: final + (1 - final) (1 + cos(pi t / horizon)) / 2.

    Attributes:
        points: ticks and values.
        interpolation: between the points.
        final: factor at the end of a run of known length; None for no such ending.
        horizon: length of the run in ticks, None where nobody said; `Recipe.over` fills it in.
    """

    points: tuple[tuple[int, float], ...] = Field(min_length=1)
    interpolation: Literal["linear", "log", "cosine", "step", "power"] = "linear"
    final: float | None = Field(default=None, gt=0, le=1)
    horizon: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        ticks = [tick for tick, _ in self.points]
        if ticks != sorted(set(ticks)):
            msg = f"Profile ticks must increase strictly; got {ticks}. Sort the points and drop repeats."
            raise ValueError(msg)
        if self.interpolation in {"log", "power"} and min(value for _, value in self.points) <= 0:
            msg = (
                f"A {self.interpolation} profile must have positive values; got {self.points}. "
                "Use linear, or a floor above 0."
            )
            raise ValueError(msg)
        if self.interpolation == "power" and ticks[0] < 1:
            msg = f"A power profile must begin at tick 1 or later; got {ticks[0]}. The value is constant before it."
            raise ValueError(msg)
        return self

    def at(self, tick: int) -> float:
        """Return the value at `tick`."""
        return self._course(tick) * self._ending(tick)

    def over(self, horizon: int) -> Self:
        """Return the same profile for a run of `horizon` ticks; one without an ending is returned as it is.

        Raises:
            pydantic.ValidationError: `horizon` is below 1.
        """
        return self if self.final is None else type(self)(**{**dict(self), "horizon": horizon})

    def _ending(self, tick: int) -> float:
        if self.final is None or self.horizon is None:
            return 1.0
        passed = min(max(tick / self.horizon, 0.0), 1.0)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * passed)) / 2

    def _course(self, tick: int) -> float:
        i = bisect_right(self.points, tick, key=lambda point: point[0])
        if i == 0 or i == len(self.points):
            return self.points[max(i - 1, 0)][1]
        (t0, v0), (t1, v1) = self.points[i - 1], self.points[i]
        s = (tick - t0) / (t1 - t0)
        match self.interpolation:
            case "linear":
                return v0 + s * (v1 - v0)
            case "log":
                return float(v0 * (v1 / v0) ** s)
            case "cosine":
                return v1 + (v0 - v1) * (1 + math.cos(math.pi * s)) / 2
            case "step":
                return v0
            case "power":
                return float(v0 * (v1 / v0) ** (math.log(tick / t0) / math.log(t1 / t0)))
