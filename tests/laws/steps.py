"""Feeds a law by hand: what the tests of laws share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from homeostat.laws import Decision, Input, Law


def given(
    reading: float, setpoint: float = 0.0, admitted: float = 0.0, *, moved: bool = False, elapsed: int = 1
) -> Input:
    return Input((reading,), (setpoint,), (admitted,), (moved,), elapsed)


def commands(law: Law, readings: Iterable[float], *, start: float = 0.0, setpoint: float = 0.0) -> list[float]:
    """Commands of a scalar law whose knob follows it without limits."""
    out, state, admitted = [], law.init(), start
    for i, reading in enumerate(readings):
        (admitted,), state, _ = law.update(state, given(reading, setpoint, admitted, moved=i == 0))
        out.append(admitted)
    return out


def after(law: Law, *inputs: Input) -> tuple[Decision, Any]:
    """The last decision, and the state before it."""
    state, before, decision = law.init(), None, None
    for each in inputs:
        before = state
        decision = law.update(state, each)
        state = decision.state
    assert decision is not None
    return decision, before
