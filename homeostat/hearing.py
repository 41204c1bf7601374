"""What a tick tells: metrics and readings, which are taken back where the step turns out not to be taken."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from homeostat.closing import run_all
from homeostat.guarding import Guarding
from homeostat.plant import Plant
from homeostat.sensing import Senses


class Hearing:
    """Closes ticks in which something is measured.

    Args:
        plant: whose ticks.
        senses: take the readings.
        guards: hear them first.
    """

    def __init__(self, plant: Plant, senses: Senses, guards: Guarding) -> None:
        self._plant, self._senses, self._guards = plant, senses, guards
        self._undo: Callable[[], None] | None = None

    def hear(self, *, silent: bool, late: bool) -> dict[int, float] | None:
        """Close the tick for metrics and return its readings; None where a guard keeps the step from being taken.

        Args:
            silent: as in `Senses.exchange`.
            late: whether the step has been taken already.
        """
        metrics, senses = self._plant.metrics, self._senses
        if self._guards.hears_in_time(late=late):
            undo = partial(metrics.put_back, metrics.kept()), partial(senses.put_back, senses.kept())
            self._undo = partial(run_all, undo)
        try:
            metrics.commit()
            arrived = senses.exchange(silent=silent)
            passes = not arrived or self._guards.hear(arrived, late=late)
        finally:
            self._undo = None
        return arrived if passes else None

    def take_back(self) -> None:
        """Forget what was heard in the tick under way: its step is not taken, and the next is of the same tick."""
        if self._undo is not None:
            self._undo()
        self._plant.metrics.discard()

    def let_stand(self) -> None:
        """Take nothing back any more, since the run has been put elsewhere meanwhile."""
        self._undo = None
