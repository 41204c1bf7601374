"""What acts within a step: it is put in place just before the step and undone or completed just after it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from homeostat.actuators.actuator import Actuator
from homeostat.closing import run_all
from homeostat.plant import Plant


class Transients:
    """The transient actuators of a controller, and whether they are in place.

    Args:
        plant: what they act on.
        pairs: actuators and their memories, in any order.

    Attributes:
        open: whether a step is under way.
    """

    def __init__(self, plant: Plant, pairs: Sequence[tuple[Actuator, Any]]) -> None:
        ordered = sorted((pair for pair in pairs if pair[0].transient), key=lambda pair: pair[0].order)
        self._plant = plant
        self._before = [partial(actuator.before_step, plant, memory) for actuator, memory in ordered]
        self._after = [
            partial(actuator.after_step, plant, memory)
            for actuator, memory in reversed(ordered)
            if type(actuator).after_step is not Actuator.after_step
        ]
        self.open = False

    def begin(self) -> None:
        """Put them in place for the step that the plant has begun."""
        self.open = True
        for before in self._before:
            before()

    def end(self) -> bool:
        """Undo or complete what they did; False where no step was under way, or it was ended already."""
        if not self.open:
            return False
        self.open = False
        # Only after an error by `run_all`, a call less in every step.
        pending = iter(self._after)
        try:
            for after in pending:
                after()
        except BaseException:
            run_all(pending)
            raise
        finally:
            self._plant.end()
        return True
