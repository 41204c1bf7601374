"""A law at work on a simulated plant, by the rules of `homeostat.runner.Runner` and in plain floats."""

from __future__ import annotations

import math
from typing import NamedTuple

from homeostat.damping import Damping
from homeostat.laws import Input, Law
from homeostat.simulation.plant import Readings, Vector


class Knob(NamedTuple):
    """One knob's limits, in the law's coordinate; `homeostat.actuators.Actuator` does the same in the plant's units."""

    low: float
    high: float
    slew: float
    quantum: float

    def admit(self, command: float, position: float, elapsed: int) -> float:
        """Bring `command` within slew of `position` and within the limits; limits win over slew."""
        reach = self.slew * elapsed
        slewed = min(max(command, position - reach), position + reach)
        return min(max(slewed, self.low), self.high)

    def quantise(self, position: float, delivered: float) -> float:
        """Return the step for `position`: the old one, `delivered`, until it is 0.75 quantum away."""
        if not self.quantum:
            return position
        if abs(position - delivered) < 0.75 * self.quantum:
            return delivered
        return min(max(round(position / self.quantum) * self.quantum, self.low), self.high)


class SimulatedLoop:
    """Keeps the law's state and the knobs' positions between decisions.

    Args:
        law: decides.
        knobs: their limits, one a command.
        start: where they are found.
        every: ticks between two decisions, which the law is told at its first.
        back_off: whether a loop that oscillates backs off.
    """

    def __init__(self, law: Law, knobs: tuple[Knob, ...], start: Vector, every: int, *, back_off: bool = False) -> None:
        self._law, self._knobs, self._every = law, knobs, every
        self._memory = law.init()
        self._latched: Readings = (None,) * law.shape[0]
        self._asked: int | None = None
        self._decided: int | None = None
        self._held = False
        self._damping = Damping(law, back_off=back_off)
        self.command = self.admitted = self.delivered = start

    def decide(self, tick: int, seen: Readings, wanted: Vector) -> None:
        """Take new readings; decide if there are any and every reading has been seen."""
        if seen.count(None) == len(seen):
            return
        self._latched = tuple([old if new is None else new for new, old in zip(seen, self._latched, strict=True)])
        readings = tuple([reading for reading in self._latched if reading is not None])
        if len(readings) < len(seen):
            return
        given = self._given(tick, readings, wanted)
        command = self._ask(tick, given)
        if command is None:
            self.command, self._held = self.admitted, True
        else:
            self._held = False
            self._damping.watch(given)
            self._move(command, self._since(self._decided, tick))
        self._decided = tick

    def _given(self, tick: int, readings: Vector, wanted: Vector) -> Input:
        moved = (self._asked is None,) * len(self._knobs)
        elapsed = self._since(self._asked, tick)
        held = max(0, elapsed - self._since(self._decided, tick)) if self._held else 0
        return Input(readings, wanted, self.admitted, moved, elapsed, held)

    def _ask(self, tick: int, given: Input) -> Vector | None:
        """Return the law's command; None where it cannot be asked, or answers with no number."""
        if not all(map(math.isfinite, given.readings)):
            return None
        command, memory, _ = self._law.update(self._memory, self._damping.tell(given))
        if not all(map(math.isfinite, command)):
            return None
        self._memory, self._asked = memory, tick
        return command

    def _move(self, command: Vector, elapsed: int) -> None:
        self.command = command
        moves = zip(self._knobs, self._damping.carry_out(command, self.admitted), self.admitted, strict=True)
        self.admitted = tuple([knob.admit(c, position, elapsed) for knob, c, position in moves])
        stands = zip(self._knobs, self.admitted, self.delivered, strict=True)
        steps = tuple([knob.quantise(position, old) for knob, position, old in stands])
        if not all(map(_unchanged, steps, self.delivered)):
            self.delivered = steps

    def _since(self, tick: int | None, now: int) -> int:
        return self._every if tick is None else now - tick


def _unchanged(step: float, delivered: float) -> bool:
    return math.isclose(step, delivered, rel_tol=1e-12)
