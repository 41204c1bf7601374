"""Backs off the gains of a loop that oscillates, whatever its law."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from homeostat.guards.detectors.oscillation import Oscillation
from homeostat.laws import AutoTune, Law, SelfTuning
from homeostat.laws.law import Input, bounded
from homeostat.state import from_data, to_data

# Least share of a law's moves that is still carried out: a loop whose gain is thirty times too high settles.
FLOOR = 1 / 32
DETECTOR = Oscillation()


class Damping:
    """How much of its law's moves a loop carries out: all, until it oscillates; after each finding half as much.

    While the share s is below 1 the law is told at every decision that the knob was found where it is, so that it
    departs from there and its command differs from that by its own step alone (every law takes a knob that something
    else moved from where it is); the knob goes s times that step. So all gains of the law, of P, I and D alike, are s
    times as great, and no integral winds up against what was not carried out. The share does not rise again: what made
    the loop swing is still there.

    A loop without a setpoint has no error to watch, and one that tunes itself swings on purpose: both are left alone.

    Args:
        law: of the loop.
        back_off: whether to watch it at all.
    """

    def __init__(self, law: Law, *, back_off: bool = True) -> None:
        self.share = 1.0
        tunes = any(isinstance(member, (AutoTune, SelfTuning)) for member in law.members())
        self._watches = back_off and law.needs_setpoint and not tunes
        self._states: tuple[Any, ...] = ()

    def tell(self, given: Input) -> Input:
        """Return what the law is told."""
        return given if self.share == 1 else given._replace(moved=(True,) * len(given.moved))

    def carry_out(self, command: tuple[float, ...], here: tuple[float, ...]) -> tuple[float, ...]:
        """Return the share of the way from `here` to `command`."""
        if self.share == 1:
            return command
        return tuple([h + self.share * (c - h) for c, h in zip(command, here, strict=True)])

    def watch(self, given: Input) -> str:
        """Take in a decision's errors; back off and say why where they have been cycling."""
        if not self._watches or self.share <= FLOOR:
            return ""
        errors = [(r - y) / (abs(r) or 1.0) for r, y in zip(given.setpoints, given.readings, strict=False)]
        self._states = self._states or tuple([DETECTOR.init() for _ in errors])
        judged = [DETECTOR.update(state, bounded(error)) for state, error in zip(self._states, errors, strict=True)]
        found = [finding.text for finding, _ in judged if finding.faulty]
        self._states = () if found else tuple([state for _, state in judged])
        if not found:
            return ""
        self.share /= 2
        return found[0]

    def save(self) -> list[Any]:
        """Return all that the next decision depends on, as plain data."""
        return [self.share, to_data(self._states)]

    def load(self, saved: Sequence[Any]) -> None:
        """Continue from `save`."""
        self.share, states = saved
        self._states = tuple([from_data(DETECTOR.init(), state) for state in states])
