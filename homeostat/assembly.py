"""Loops fitted to a plant, one after the other, each knob having one owner."""

from __future__ import annotations

from homeostat.errors import AttachError
from homeostat.loop import CoupledLoop
from homeostat.plant import Plant
from homeostat.runner import Runner
from homeostat.sensing import Senses


class Assembly:
    """The loops of a controller at work, each with where its readings come from.

    Args:
        plant: what they are carried out on.
        senses: takes their observers.
        advise: only say what would be done.

    Attributes:
        runners: in the order in which they decide.
        inputs: each runner with its sensors.
        left_out: why optional loops are absent.
        expected: metrics that a loop which is not optional reads.
    """

    def __init__(self, plant: Plant, senses: Senses, *, advise: bool) -> None:
        self._plant = plant
        self._senses = senses
        self._advise = advise
        self._owners: dict[str, str] = {}
        self.runners: list[Runner] = []
        self.inputs: list[tuple[Runner, tuple[int, ...]]] = []
        self.left_out: list[str] = []
        self.expected: set[str] = set()

    def add(self, loop: CoupledLoop) -> None:
        """Put a loop to work.

        Raises:
            AttachError: it does not fit, and is not optional.
        """
        name = loop.title
        while name in {runner.name for runner in self.runners}:
            name += "'"
        known = set(self._plant.metrics.names)
        try:
            self._claim(loop, name)
            runner = Runner(loop, name, self._plant, advise=self._advise)
            try:
                inputs = self._senses.add(loop.observers, loop.every, runner.pace)
            except BaseException:
                runner.release()
                raise
        except AttachError as error:
            if not loop.optional:
                raise AttachError(f"Loop {loop.title!r}: {error}") from error
            self._owners = {knob: owner for knob, owner in self._owners.items() if owner != name}
            self.left_out.append(f"Loop {loop.title!r} is left out: {error}")
            return
        if not loop.optional:
            self.expected |= set(self._plant.metrics.names) - known
        self.runners.append(runner)
        self.inputs.append((runner, inputs))

    def _claim(self, loop: CoupledLoop, name: str) -> None:
        """Note whose the knobs are; a knob has one owner."""
        for actuator in loop.actuators:
            for knob in sorted(actuator.targets(self._plant)):
                if knob in self._owners:
                    msg = (
                        f"A knob must be moved by one actuator; got {knob!r} in {self._owners[knob]!r} and "
                        f"{name!r}. Join the two laws in one loop, or narrow the actuators' globs."
                    )
                    raise AttachError(msg)
                self._owners[knob] = name
