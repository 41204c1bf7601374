"""A guard at work: what its detector knows, and when it looks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from homeostat.guards.detector import Finding
from homeostat.guards.guard import Guard
from homeostat.observers.gradient import GradientNorm
from homeostat.state import from_data, require, to_data

# Weight of a new reading in the usual gradient norm: the last 16 or so count.
_NEW = 1 / 16
_NEVER = 1 << 62


class Lookout:
    """A guard at work.

    Args:
        guard: what is carried out.
        name: unique among the controller's guards.

    Attributes:
        screen: readings between these, both included, need no closer look before `due`.
        due: tick from which a reading is learned from.
    """

    def __init__(self, guard: Guard, name: str) -> None:
        self.guard = guard
        self.name = name
        self._state = guard.detector.init()
        self.screen = guard.detector.screen(self._state)
        self.due = 0
        self._last: int | None = None
        self._quiet_until = 0
        # Logarithm of the usual gradient norm, where it is watched.
        self._usual: float | None = None

    def judge(self, reading: float, tick: int) -> Finding | None:
        """Return what tells of a fault in a reading; one without is learned from."""
        if tick < self._quiet_until:
            return None
        elapsed = self.guard.every if self._last is None else max(1, tick - self._last)
        finding, self._state = self.guard.detector.update(self._state, reading, elapsed)
        self._last = tick
        self.due = tick + (1 if tick < self.guard.young else self.guard.every) if self.guard.detector.learns else _NEVER
        self.screen = self.guard.detector.screen(self._state)
        if finding.faulty:
            return finding
        size = self._size(reading)
        self._usual = size if self._usual is None else self._usual + _NEW * (size - self._usual)
        return None

    def share(self, reading: float) -> float | None:
        """Return what a gradient of this norm must be multiplied by to have the usual one; None if that is unknown."""
        size = self._size(reading)
        return math.exp(self._usual - size) if self._usual is not None and math.isfinite(size) else None

    def rest(self, tick: int) -> None:
        """After a reset or a rollback: forget evidence, and look away for `cooldown` ticks."""
        self._state = self.guard.detector.rest(self._state)
        self.screen = self.guard.detector.screen(self._state)
        self._quiet_until = tick + self.guard.cooldown

    def state_dict(self) -> dict[str, Any]:
        """Everything the next verdict depends on, as plain data."""
        return {
            "detector": type(self.guard.detector).__name__,
            "state": to_data(self._state),
            "last": self._last,
            "due": self.due,
            "quiet_until": self._quiet_until,
            "usual": self._usual,
        }

    def check(self, state: Mapping[str, Any]) -> None:
        """Refuse a state that is not whole, before anything is changed; it may be of another detector.

        Raises:
            StateError: it is.
        """
        require(state, self.state_dict(), f"The state of guard {self.name!r}")
        if state["detector"] == type(self.guard.detector).__name__:
            from_data(self.guard.detector.init(), state["state"])

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`; begin anew where it is of another detector."""
        if state["detector"] == type(self.guard.detector).__name__:
            self._state = from_data(self.guard.detector.init(), state["state"])
            self.screen = self.guard.detector.screen(self._state)
            self._last, self.due = state["last"], state["due"]
            self._quiet_until, self._usual = state["quiet_until"], state["usual"]

    def depart(self, state: Mapping[str, Any], tick: int) -> None:
        """Take for normal what was so when `state` was returned; the weights of then go on at `tick`."""
        self.load_state_dict(state)
        self._last, self.due = None, tick

    def _size(self, reading: float) -> float:
        logarithmic = isinstance(self.guard.observer, GradientNorm) and self.guard.observer.log
        return reading if logarithmic else math.log(max(reading, 1e-300))
