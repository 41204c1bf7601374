"""Averages errors and positions: the step-size adaptation of Hamiltonian Monte Carlo."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

from pydantic import Field, model_validator

from homeostat.laws.law import Decision, Input, Law, bounded


class DualAveragingState(NamedTuple):
    """What the next decision needs.

    Attributes:
        centre: the position found, to which iterates shrink.
        total: sum of the errors.
        trials: readings so far.
        average: the weighted mean of the iterates.
        command: the last command; None before the first.
    """

    centre: float = 0.0
    total: float = 0.0
    trials: int = 0
    average: float = 0.0
    command: float | None = None


class DualAveraging(Law):
    """Searches the position at which the mean of a noisy reading y is the setpoint r, by shrinking steps.

    With e = r - y and t readings so far,

        x = centre + gain sqrt(t) / (t + delay) * sum(e),   average <- average + t^-decay (x - average),

    x is commanded for `readings` readings and the average from then on. For an acceptance rate that should be 0.8:
    y is the acceptance of one trial, the knob the logarithm of the step size, and the gain negative, -20 being the
    usual 1 / 0.05.

    Its pitfalls, and what is done about them. The sum winds up at a limit: what limits took is taken out of it at
    once; a knob that something else moved takes the centre along. Steps shrink as 1 / sqrt(t), so it cannot follow a
    plant that changes later: with `memory` t stops growing there, and it goes on as an integral law of that gain. The
    average hangs on to the early iterates, and on a curved response its reading is not the mean of theirs, so the
    reading settles beside the setpoint: for a logistic acceptance and a start 20 times too small, at 0.83 instead of
    0.80 after 200 readings, 0.81 after 1000. Start it near the goal, or keep x by leaving `readings` out. Its step
    per reading is the same whatever `elapsed`: readings are trials.

    Bound. Where errors stay within E, abs(x - centre) <= abs(gain) E sqrt(t). Solved for the sum, the first equation
    says that the mean error is (x - centre) (1 + delay / t) / (gain sqrt(t)), whatever the plant: where x stays bounded
    because the plant answers, the mean reading goes to the setpoint as 1 / sqrt(t).

    Attributes:
        gain: in knob coordinate per unit of the reading, 1 / gamma; its sign is the direction.
        delay: readings by which the first steps are damped, t0.
        decay: kappa; 1 is the plain mean.
        readings: after which the average is used; None for never.
        memory: readings after which steps shrink no more; None for never.

    Source: Y. Nesterov, Primal-Dual Subgradient Methods for Convex Problems, 2009; M. D. Hoffman and A. Gelman, The
    No-U-Turn Sampler, 2014, equation 6.
    """

    gain: float = Field(ge=-1e50, le=1e50)
    delay: float = Field(default=10.0, ge=0, le=1e12)
    decay: float = Field(default=0.75, gt=0.5, le=1)
    readings: int | None = Field(default=None, ge=1)
    memory: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if abs(self.gain) < 1e-50:
            msg = f"A DualAveraging's gain must differ from 0; got {self.gain:g}. Use Hold to leave a knob alone."
            raise ValueError(msg)
        return self

    @property
    def needs_setpoint(self) -> bool:
        """A controller always does."""
        return True

    def init(self) -> DualAveragingState:
        """Return the state before the first reading."""
        return DualAveragingState()

    def update(self, state: DualAveragingState, given: Input) -> Decision:
        """Take one trial into account."""
        admitted = bounded(given.admitted[0])
        error = bounded(given.setpoints[0]) - bounded(given.readings[0])
        if state.command is None:
            return Decision((admitted,), DualAveragingState(admitted, 0.0, 0, admitted, admitted), {})
        if self.readings is not None and state.trials >= self.readings:
            average = admitted if given.moved[0] else state.average
            return Decision((average,), state._replace(average=average, command=average), {"average": average})
        departure, centre, before = bounded(admitted - state.command), state.centre, state.total
        if given.moved[0]:
            centre = bounded(centre + departure)
        else:
            before = bounded(before + departure / self._factor(state.trials))
        trials, total = state.trials + 1, bounded(before + error)
        iterate = bounded(centre + bounded(self._factor(trials) * total))
        average = state.average + self._effective(trials) ** -self.decay * (iterate - state.average)
        command = average if trials == self.readings else iterate
        after = DualAveragingState(centre, total, trials, average, command)
        return Decision((command,), after, {"iterate": iterate, "average": average})

    def _effective(self, trials: int) -> int:
        return max(1, trials if self.memory is None else min(trials, self.memory))

    def _factor(self, trials: int) -> float:
        """Return what the sum of errors is multiplied by after `trials` readings."""
        t = self._effective(trials)
        return self.gain * math.sqrt(t) / (t + self.delay)
