"""A regulator that learns the plant while it controls it."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from homeostat.laws.law import Decision, Input, Law, bounded
from homeostat.laws.recursive_least_squares import Estimate, learn, project

Pair = tuple[float, float]

# Noise alone makes the regulator move by sqrt(2) in these units: what is beyond four times that is something else.
EXCITED = 6.0
# The constant's walk at each decision, in units of the noise.
WALK = 0.1


class SelfTuningState(NamedTuple):
    """What the next decision needs.

    Attributes:
        estimate: of (a, b, c), with its covariance.
        gain: that the regulator is made for; it falls to the estimate's by degrees.
        motion: the knob's greatest move of late, fading with the greatest time constant.
        origin: reading and position at the start, from which both are counted.
        reading: the last one.
        error: the last one.
        positions: admitted, as far back as the dead time and one, oldest first; empty before the first decision.
    """

    estimate: Estimate
    gain: float
    motion: float = 0.0
    origin: Pair = (0.0, 0.0)
    reading: float = 0.0
    error: float = 0.0
    positions: tuple[float, ...] = ()


class SelfTuning(Law):
    """Steers one reading by a pole placed for a first-order plant whose gain and time constant it learns meanwhile.

    The plant is taken as y(k + 1) = a y(k) + b u(k - d) + c, one step a decision, d the dead time. The regulator makes
    the error shrink by q = exp(-every / closed_loop_time) a decision (Dahlin's, with certainty equivalence):

    u(k) = q u(k - 1) + (1 - q) u(k - 1 - d) + (1 - q) / b (e(k) - a e(k - 1)),   u(k - 1), ... as admitted.

    With q = 0 it is minimum variance for a disturbance that walks at random; a closed-loop time of the dead time or
    more detunes it for what the model leaves out. (a, b, c) are estimated by recursive least squares, c as one that
    walks by a tenth of the noise at each decision, so that loads and drifts are not taken for answers to the knob.
    The estimate starts at the greatest gain, which is the most cautious, and is projected onto what `gain` and
    `time_constant` allow. The regulator follows to a greater gain at once, to a smaller one by a factor e in the
    greatest time constant at most, so that what was misread has time to be contradicted.

    It learns only where something excites the plant: while the knob's greatest move, fading with the greatest time
    constant, is beyond what the regulator makes of noise alone; else it would learn the regulator instead. Old data are
    forgotten only while the covariance of a and b stays below its first value, so it cannot burst after a long rest.
    Without noise, with a constant c and the plant among those allowed, V = (theta - theta*)' P^-1 (theta - theta*)
    never grows. Whatever the readings, the parameters used stay in their ranges, and the command leaves the span of
    the last positions by no more than (1 - q) (|e(k)| + |e(k - 1)|) / |b|: bounded readings move the knob at a bounded
    speed.

    The loop must decide every `every` ticks; from another pause the law learns nothing, and acts on the error alone.
    The first command is the admitted position exactly. What limits took away is never in u, so nothing winds up, and
    a knob that something else moved is taken from where it is.

    Attributes:
        gain: least and greatest change of the reading at rest per unit of knob, of one sign.
        time_constant: least and greatest, in ticks.
        closed_loop_time: wanted time constant of the closed loop, in ticks; 0 for minimum variance.
        noise: standard deviation of the reading.
        dead_time: ticks before a move of the knob acts, beyond the next decision.
        memory: ticks after which data are forgotten.
        every: ticks between two decisions.

    Raises:
        pydantic.ValidationError: a range the wrong way round, or of gains of both signs.

    Source: K. J. Åström and B. Wittenmark, Adaptive Control, 1995, chapters 2 to 4 and 11; E. B. Dahlin, Instruments
    and Control Systems 41, 1968 (the regulator); G. C. Goodwin and K. S. Sin, Adaptive Filtering, Prediction and
    Control, 1984, chapters 3 and 6 (boundedness).
    """

    gain: Pair
    time_constant: Pair
    closed_loop_time: float = Field(ge=0, le=1e9)
    noise: float = Field(ge=1e-30, le=1e30)
    dead_time: int = Field(default=0, ge=0, le=10**6)
    memory: float = Field(default=1000.0, gt=0, le=1e12)
    every: int = Field(default=10, ge=1, le=10**6)

    @model_validator(mode="after")
    def _check(self) -> Self:
        (low, high), (fast, slow) = self.gain, self.time_constant
        if not (
            low <= high and low * high > 0 and 1e-30 <= min(map(abs, self.gain)) <= max(map(abs, self.gain)) <= 1e30
        ):
            msg = (
                f"SelfTuning's gain must be a range of one sign, within 1e-30 and 1e30; got {self.gain}. "
                "Say which way the knob moves the reading: (0.1, 10) or (-10, -0.1)."
            )
            raise ValueError(msg)
        if not 1e-2 * self.every <= fast <= slow <= 1e6 * self.every:
            msg = (
                f"SelfTuning's time_constant must be a range from {1e-2 * self.every:g} to {1e6 * self.every:g} ticks; "
                f"got {self.time_constant}. Decide more often for a faster plant, less often for a slower one."
            )
            raise ValueError(msg)
        if self.dead_time > 1000 * self.every:
            msg = (
                f"SelfTuning's dead_time must be at most 1000 decisions; got {self.dead_time} ticks. Decide less often."
            )
            raise ValueError(msg)
        return self

    @property
    def needs_setpoint(self) -> bool:
        """A controller always does."""
        return True

    def init(self) -> SelfTuningState:
        """Return the state before any data: the greatest gain, the middle of the decays, and their ranges as doubt."""
        a, gain = sum(self._decays()) / 2, max(self.gain, key=abs)
        doubt = self._doubt()
        covariance = ((doubt[0], 0.0, 0.0), (0.0, doubt[1], 0.0), (0.0, 0.0, 1e6))
        return SelfTuningState(Estimate((a, gain * (1 - a), 0.0), covariance), gain)

    def update(self, state: SelfTuningState, given: Input) -> Decision:
        """Learn from the last step, then decide."""
        reading, admitted = bounded(given.readings[0]), bounded(given.admitted[0])
        error = bounded(bounded(given.setpoints[0]) - reading)
        late = -(-self.dead_time // self.every)
        regular = bool(state.positions) and given.elapsed == self.every and not given.moved[0]
        positions = (*state.positions[-late - 1 :], admitted) if regular else (admitted,) * (late + 2)
        if not state.positions:
            start = state._replace(origin=(reading, admitted), reading=reading, error=error, positions=positions)
            return Decision((admitted,), start, {})
        estimate, motion = self._learnt(state, reading, positions) if regular else (state.estimate, state.motion)
        a, gain = self._used(estimate)
        gain = max(gain, state.gain * math.exp(-self.every / self.time_constant[1]), key=abs)
        kept = self._kept()
        last = state.error if regular else error
        feedback = bounded((1 - kept) / (gain * (1 - a)) * (error - a * last))
        # Written as a difference, so that positions that agree stay exactly what they are.
        command = bounded(positions[1] + kept * (admitted - positions[1]) + feedback)
        after = SelfTuningState(estimate, gain, motion, state.origin, reading, error, positions)
        return Decision((command,), after, {"decay": a, "gain": gain, "feedback": feedback})

    def _learnt(self, state: SelfTuningState, reading: float, positions: tuple[float, ...]) -> tuple[Estimate, float]:
        """Return estimate and motion after this reading, which answers the last and the position that acts on it."""
        a, _ = self._used(state.estimate)
        faded = state.motion * math.exp(-self.every / self.time_constant[1])
        motion = bounded(max(faded, abs(positions[1] - positions[0])))
        if abs(state.gain) * (1 - a) * motion < EXCITED * (1 - self._kept()) * self.noise:
            return state.estimate, motion
        forgetting = math.exp(-self.every / self.memory)
        regressors = np.array([state.reading - state.origin[0], positions[1] - state.origin[1], 1.0])
        answer, doubt = reading - state.origin[0], self._doubt()
        covariance = state.estimate.covariance
        if any(covariance[i][i] > forgetting * doubt[i] for i in range(2)):
            forgetting = 1.0
        estimate = learn(state.estimate, regressors, answer, forgetting=forgetting, drift=np.array([0.0, 0.0, WALK**2]))
        return project(estimate, self._faces()), motion

    def _kept(self) -> float:
        """Return q, the share of the error that stays at each decision."""
        return math.exp(-self.every / self.closed_loop_time) if self.closed_loop_time else 0.0

    def _doubt(self) -> Pair:
        """Return the first variances of a and b over the noise's: the squares of their ranges."""
        (fast, slow), (low, high) = self._decays(), self.gain
        return ((slow - fast) / self.noise) ** 2, ((high - low) * (1 - fast) / self.noise) ** 2

    def _decays(self) -> Pair:
        fast, slow = (math.exp(-self.every / time) for time in self.time_constant)
        return fast, slow

    def _used(self, estimate: Estimate) -> Pair:
        """Return a and the gain b / (1 - a), brought into their ranges, which the projection may leave by a little."""
        (fast, slow), (low, high) = self._decays(), self.gain
        a = min(max(estimate.parameters[0], fast), slow)
        return a, min(max(estimate.parameters[1] / (1 - a), low), high)

    def _faces(self) -> tuple[tuple[tuple[float, float, float], float], ...]:
        """Return the half-spaces that hold the parameters: fast <= a <= slow, low <= b / (1 - a) <= high."""
        (fast, slow), (low, high) = self._decays(), self.gain
        return (
            ((-1.0, 0.0, 0.0), -fast),
            ((1.0, 0.0, 0.0), slow),
            ((-low, -1.0, 0.0), -low),
            ((high, 1.0, 0.0), high),
        )
