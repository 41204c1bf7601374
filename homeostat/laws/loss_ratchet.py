"""The rule by which the first published Echo moved its rotary base, kept for the record."""

from __future__ import annotations

import math
from typing import NamedTuple

from pydantic import Field

from homeostat.laws.law import Decision, Input, Law, bounded


class LossRatchetState(NamedTuple):
    """The previous loss; None before the first, which counts as an improvement."""

    previous: float | None = None


class LossRatchet(Law):
    """Moves the knob one step up when the loss is below the previous loss, else one step down.

    Do not use it to control anything. It compares two single losses, so it follows the noise of the batches: on
    a plant at rest the knob makes a random walk whose spread grows as step * sqrt(n / 3) over n decisions, and
    while the loss falls it drifts one way whatever the knob does. It has no setpoint and no limit of its own. It
    exists so that the published behaviour can be reproduced and compared.

    `step` is in the actuator's coordinate; on a log scale the default is the published factor of 1.0025, which was
    applied every 25 ticks (the loop's cadence).

    Source: `adjust_base` of the Echo models published by sine2pi.
    """

    step: float = Field(default=math.log(1.0025), gt=0)

    def init(self) -> LossRatchetState:
        """Return the state before the first loss."""
        return LossRatchetState()

    def update(self, state: LossRatchetState, given: Input) -> Decision:
        """Step up or down from the admitted position."""
        (loss,) = given.readings
        better = state.previous is None or loss < state.previous
        step = self.step if better else -self.step
        return Decision((bounded(given.admitted[0] + step),), LossRatchetState(loss), {"step": step})
