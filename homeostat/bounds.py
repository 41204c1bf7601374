"""Whether knobs stand within their actuators' limits."""

from __future__ import annotations

from collections.abc import Sequence

from homeostat.actuators.actuator import Actuator
from homeostat.errors import AttachError

# Rounding to the knob's type may put it a last bit beyond.
_SLACK = 1e-6


def outside(actuators: Sequence[Actuator], values: Sequence[float]) -> list[str]:
    """Say which knobs, at `values` in their own units, stand outside; one that is no number does."""
    return [
        f"{type(actuator).__name__} must stand within its limits; got {value:g} outside "
        f"[{actuator.low:g}, {actuator.high:g}]."
        for actuator, value in zip(actuators, values, strict=True)
        if not -_slack(actuator) <= value - actuator.low <= actuator.high - actuator.low + _slack(actuator)
    ]


def refuse_outside(actuators: Sequence[Actuator], values: Sequence[float]) -> None:
    """Refuse a loop that would find its knobs outside.

    Raises:
        AttachError: it would.
    """
    for found in outside(actuators, values):
        raise AttachError(f"{found} Start it inside, or widen the limits.")


def _slack(actuator: Actuator) -> float:
    return _SLACK * max(abs(actuator.low), abs(actuator.high))
