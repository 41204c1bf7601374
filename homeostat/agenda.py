"""Which ticks there is something to do at; the others must cost next to nothing."""

from __future__ import annotations

import math

from homeostat.monitoring import Monitoring
from homeostat.plant import Plant
from homeostat.sensing import Senses


class Agenda:
    """The next ticks at which something is measured, prepared or decided, and at which metrics are recorded.

    Args:
        plant: whose ticks.
        senses: what loops and guards measure.
        monitoring: what is recorded of the observed metrics.
        vitals_every: ticks between two records of the vitals, in the first 10 of them; later a tenth to a fifth of
            the run so far. 0 for none.
    """

    def __init__(self, plant: Plant, senses: Senses, monitoring: Monitoring, vitals_every: int) -> None:
        self._plant, self._senses, self._monitoring = plant, senses, monitoring
        self._vitals_every = vitals_every
        self.busy_at = self.record_at = 0.0

    def arm(self) -> None:
        """Ready what is due at this tick, before its forward pass, and note when there is something to do next.

        Also where the step is not taken: the next forward pass is of the same tick then, and what was heard of this one
        must not count for it.
        """
        self._senses.arm()
        every = self._vitals_every
        vitals = -(-self._plant.tick // every) * every if every else math.inf
        self.busy_at = min(self._senses.wake, vitals)
        self.arm_records()

    def arm_records(self) -> None:
        """Note when metrics are recorded next."""
        self._monitoring.arm()
        self.record_at = self._monitoring.wake

    def vitals_due(self) -> bool:
        """Whether vitals are recorded at this tick: less often as the run gets long, and always at the same ticks."""
        every, tick = self._vitals_every, self._plant.tick
        if not every or tick % every:
            return False
        fifths = tick // (5 * every)
        return tick % (every << max(0, fifths.bit_length() - 1)) == 0
