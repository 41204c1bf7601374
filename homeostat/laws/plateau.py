"""A step when nothing has improved for long."""

from __future__ import annotations

import math
from typing import NamedTuple

from pydantic import Field

from homeostat.laws.law import Decision, Input, Law, bounded


class PlateauState(NamedTuple):
    """The best reading (None before the first), and the ticks since it."""

    best: float | None = None
    waited: int = 0


class Plateau(Law):
    """Moves the knob by `step` when the reading has not improved on its best for more than `patience` ticks.

    Better means lower than the best by more than margin * abs(best) (with `rising`, higher). After a step the waiting
    begins anew and the best stays, so a reading that never improves gives a step every patience + 1 ticks or more.
    The first reading is the best so far; the time of a hold does not count; a knob that something else moved is
    stepped from where it is.

    Readings of single batches are noise: their best is an outlier that later ones cannot beat. Put an `EMA` or a
    `Median` before it, or read a validation loss.

    Attributes:
        step: in the actuator's coordinate: the logarithm of a factor on a log scale (by default a half).
        patience: in ticks.
        margin: relative improvement that counts.
        rising: higher readings are better.
    """

    step: float = Field(default=-math.log(2), ge=-1e100, le=1e100)
    patience: int = Field(ge=1)
    margin: float = Field(default=1e-4, ge=0, lt=1)
    rising: bool = False

    def init(self) -> PlateauState:
        """Return the state before the first reading."""
        return PlateauState()

    def update(self, state: PlateauState, given: Input) -> Decision:
        """Step, or wait."""
        reading, admitted = bounded(given.readings[0]), bounded(given.admitted[0])
        if state.best is None or self._better(reading, state.best):
            return Decision((admitted,), PlateauState(reading), {"best": reading, "waited": 0.0})
        waited = state.waited + given.elapsed - given.held
        terms = {"best": state.best, "waited": float(waited)}
        if waited <= self.patience:
            return Decision((admitted,), PlateauState(state.best, waited), terms)
        return Decision((bounded(admitted + self.step),), PlateauState(state.best), terms)

    def _better(self, reading: float, best: float) -> bool:
        gain = reading - best if self.rising else best - reading
        return gain > self.margin * abs(best)
