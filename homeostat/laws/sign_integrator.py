"""Steps of one size against the error's sign: the rule of adaptive augmentation and of expert balancing."""

from __future__ import annotations

import math
from statistics import fmean
from typing import Self

from pydantic import Field, model_validator

from homeostat.laws.law import Decision, Input, Law, bounded


class SignIntegrator(Law):
    """Moves each of `size` knobs by `rate` a tick in the direction that its own error's sign asks for.

    u_i <- u_i + rate * elapsed * sign(r_i - y_i) from the admitted position; a negative rate moves the other way. No
    error is large to it, so outliers and the reading's unit mean nothing; it needs no knowledge of the plant but the
    sign of its gain. In return it never rests: it ends hunting around the setpoint. It has no state and so no windup.

    With `recentre` the commands' mean is taken back to the mean of the admitted positions, for knobs of which only
    the differences count, such as the routing biases of experts; their common level then cannot drift away.

    Bound. On a plant at rest whose reading rises strictly with its knob (rate > 0), reaching r at u*, a step never
    takes the knob farther from u* than the larger of its distance before and one step: V = max(abs(u - u*), rate *
    elapsed) does not grow, and falls by a step a decision until abs(u - u*) is within one. A dead time of D decisions
    widens that to D + 1 steps. (The Lyapunov argument for relay control: V. I. Utkin, Sliding Modes in Control and
    Optimization, 1992, chapter 1.)

    Attributes:
        rate: step of a knob in a tick.
        size: number of readings and of knobs.
        recentre: keep the mean of the knobs; needs at least two.
        dead_band: abs(r - y) up to which a knob stays.

    Source: T. Karras et al., Training Generative Adversarial Networks with Limited Data, 2020, section 3;
    L. Wang et al., Auxiliary-Loss-Free Load Balancing Strategy for Mixture-of-Experts, 2024, algorithm 1.
    """

    rate: float = Field(ge=-1e100, le=1e100)
    size: int = Field(default=1, ge=1)
    recentre: bool = False
    dead_band: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.rate == 0:
            msg = "A SignIntegrator's rate must differ from 0; got 0. Use Hold to leave a knob alone."
            raise ValueError(msg)
        if self.recentre and self.size == 1:
            msg = (
                "A SignIntegrator that recentres must have at least 2 knobs; got 1. Raise size, or leave recentre out."
            )
            raise ValueError(msg)
        return self

    @property
    def needs_setpoint(self) -> bool:
        """A controller always does."""
        return True

    @property
    def shape(self) -> tuple[int, int]:
        """As many knobs as readings."""
        return self.size, self.size

    def init(self) -> tuple[()]:
        """Return the empty state."""
        return ()

    def update(self, state: tuple[()], given: Input) -> Decision:
        """Step once with every knob."""
        admitted = tuple(map(bounded, given.admitted))
        errors = tuple(bounded(r) - bounded(y) for r, y in zip(given.setpoints, given.readings, strict=True))
        step = bounded(self.rate * (given.elapsed - given.held))
        steps = tuple(math.copysign(step, step * e) if abs(e) > self.dead_band else 0.0 for e in errors)
        if self.recentre:
            mean = fmean(steps)
            steps = tuple(s - mean for s in steps)
        command = tuple(bounded(u + s) for u, s in zip(admitted, steps, strict=True))
        return Decision(command, state, {f"step{i}": s for i, s in enumerate(steps)})
