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
    linear  v0 + s (v1 - v0);  log  v0 (v1 / v0)^s;  cosine  v1 + (v0 - v1) (1 + cos(pi s)) / 2;  step  v0.
    Before the first point and after the last the value is constant.

    With `unit="thousandths"` the ticks are thousandths of a run whose length is not known yet: the value stays at
    the first point until `stretch` gives the length.
    """

    points: tuple[tuple[int, float], ...] = Field(min_length=1)
    interpolation: Literal["linear", "log", "cosine", "step"] = "linear"
    unit: Literal["ticks", "thousandths"] = "ticks"

    @model_validator(mode="after")
    def _check(self) -> Self:
        ticks = [tick for tick, _ in self.points]
        if ticks != sorted(set(ticks)):
            msg = f"Profile ticks must increase strictly; got {ticks}. Sort the points and drop repeats."
            raise ValueError(msg)
        if self.interpolation == "log" and min(value for _, value in self.points) <= 0:
            msg = f"A log profile must have positive values; got {self.points}. Use linear, or a floor above 0."
            raise ValueError(msg)
        return self

    def at(self, tick: int) -> float:
        """Return the value at `tick`."""
        if self.unit == "thousandths":
            return self.points[0][1]
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

    def stretch(self, horizon: int) -> Profile:
        """Return the same course in ticks, for a run of `horizon` ticks; a profile in ticks is returned as it is."""
        if self.unit == "ticks":
            return self
        ticks = {tick * horizon // 1000: value for tick, value in self.points}
        return Profile(points=tuple(ticks.items()), interpolation=self.interpolation)
