"""Feedback of the whole state of a linear model: several readings, several knobs, one optimal gain."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from homeostat.laws.law import Decision, Input, Law, bounded
from homeostat.laws.linear_model import LinearModel
from homeostat.laws.matrix import Array, floats, within
from homeostat.laws.riccati import Regulator, regulator


class StateFeedbackState(NamedTuple):
    """What the next decision needs.

    Attributes:
        estimate: the model's state as estimated, counted from the working point.
        readings: the readings at the working point, where the law started.
        knobs: the positions of the knobs there.
        command: the last commands; None before the first.
    """

    estimate: tuple[float, ...]
    readings: tuple[float, ...]
    knobs: tuple[float, ...]
    command: tuple[float, ...] | None = None


class StateFeedback(Law):
    """Steers n readings to n setpoints with m >= n knobs by the linear-quadratic gain of a model, with integral action.

    u(k) = -K x(k) + v(k),   v(k) = v(k - 1) + H (r - y(k)),

    where x is the state that a steady-state Kalman filter estimates from knobs and readings, and K, H minimise

    sum over k of |y / tolerance|^2 + |z every / (tolerance integral_time)|^2 + |u / effort|^2,

    z being the sum of the errors: a reading off by its tolerance costs as much as a knob off by its effort, and as
    much as an error of that size that has stood for the integral time. So the knobs know of each other, and a
    setpoint of one reading moves the other little. The filter takes the knobs to be disturbed by their efforts at
    each decision, and the readings to be noisy with the standard deviations `noise`; more noise, calmer knobs.

    The loop must decide every `every` ticks, for which the gain is made; at another `elapsed` the filter predicts
    exactly for the ticks that passed, and the integral counts those that were not held.

    Limits. The filter hears of the admitted positions, not of the commands, and what was not admitted flows back into
    v with the geometric mean of `every` and the slowest time constant of the closed loop. The first commands are the
    admitted positions exactly: the plant counts as at rest there. v is kept as the command that it leads to, so a law
    with other weights takes over without a bump. A knob that something else moved is taken from where it is.

    Attributes:
        model: of the plant near its working point, in ticks.
        tolerances: error of each reading that costs one.
        efforts: motion of each knob, in its coordinate, that costs one.
        integral_time: in ticks.
        noise: standard deviation of each reading.
        every: ticks between two decisions.

    Raises:
        pydantic.ValidationError: the sizes do not fit, a mode that does not die out is moved by no knob or shown by
            no reading, or the knobs cannot hold the readings apart at rest (a transmission zero at 1).

    Source: P. C. Young and J. C. Willems, An approach to the linear multivariable servomechanism problem,
    International Journal of Control 15, 1972; B. D. O. Anderson and J. B. Moore, Optimal Control, 1990, chapters 2, 7
    and 8.
    """

    model: LinearModel
    tolerances: tuple[float, ...]
    efforts: tuple[float, ...]
    integral_time: float = Field(gt=0, le=1e12)
    noise: tuple[float, ...]
    every: int = Field(default=10, ge=1, le=10**6)

    @model_validator(mode="after")
    def _check(self) -> Self:
        n, m = self.model.shape
        for name, values, count in (
            ("tolerances", self.tolerances, n),
            ("efforts", self.efforts, m),
            ("noise", self.noise, n),
        ):
            if len(values) != count or not all(1e-100 <= value <= 1e100 for value in values):
                msg = (
                    f"StateFeedback's {name} must be {count} numbers from 1e-100 to 1e100; got {values}. "
                    f"Give one a {'knob' if name == 'efforts' else 'reading'} of the model."
                )
                raise ValueError(msg)
        _regulator(self)
        return self

    @property
    def needs_setpoint(self) -> bool:
        """A controller always does."""
        return True

    @property
    def shape(self) -> tuple[int, int]:
        """The model's."""
        return self.model.shape

    def init(self) -> StateFeedbackState:
        """Return the state before the first decision."""
        n, m = self.shape
        return StateFeedbackState((0.0,) * len(self.model.state_matrix), (0.0,) * n, (0.0,) * m)

    def update(self, state: StateFeedbackState, given: Input) -> Decision:
        """Decide once, from all readings."""
        design = _regulator(self)
        readings, admitted = within(np.array(given.readings)), within(np.array(given.admitted))
        errors = np.array([bounded(r) - y for r, y in zip(given.setpoints, readings, strict=True)])
        if state.command is None:
            after = state._replace(readings=floats(readings), knobs=floats(admitted), command=floats(admitted))
            return Decision(floats(admitted), after, {})
        estimate, innovation = self._estimate(design, state, readings, admitted, given.elapsed)
        feedback = -within(design.feedback @ estimate)
        before = -within(design.feedback @ np.array(state.estimate))
        command = np.array(state.command)
        share = np.where(given.moved, 1.0, -math.expm1(-given.elapsed / design.tracking_time))
        tracked = within(command - before + share * (admitted - command))
        integral = within(tracked + within(design.integral @ errors) * ((given.elapsed - given.held) / self.every))
        command = within(integral + feedback)
        terms = {f"F{i}": value for i, value in enumerate(feedback.tolist())}
        terms |= {f"I{i}": value for i, value in enumerate(integral.tolist())}
        terms |= {f"innovation{i}": value for i, value in enumerate(innovation.tolist())}
        return Decision(floats(command), state._replace(estimate=floats(estimate), command=floats(command)), terms)

    def _estimate(
        self, design: Regulator, state: StateFeedbackState, readings: Array, admitted: Array, elapsed: int
    ) -> tuple[Array, Array]:
        """Return the state after what the knobs did and the readings say, and by how much they surprise."""
        a, b = (design.a, design.b) if elapsed == self.every else self.model.over(elapsed)
        with np.errstate(all="ignore"):
            predicted = a @ np.array(state.estimate) + b @ (admitted - np.array(state.knobs))
        # Through a long pause an unstable model predicts nothing; then the readings alone must tell.
        predicted = within(predicted) if np.isfinite(predicted).all() else np.zeros(len(predicted))
        innovation = within(readings - np.array(state.readings) - within(design.output @ predicted))
        return within(predicted + design.correction @ innovation), innovation


@lru_cache(maxsize=128)
def _regulator(law: StateFeedback) -> Regulator:
    """Return the law's gains, computed once."""
    return regulator(
        law.model,
        tolerances=law.tolerances,
        efforts=law.efforts,
        integral_decisions=law.integral_time / law.every,
        noise=law.noise,
        every=law.every,
    )
