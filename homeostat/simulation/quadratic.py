"""A noisy quadratic under an optimizer: the true learning dynamics, with the learning rate as the knob."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, NamedTuple, Self

from pydantic import Field, model_validator

from homeostat.simulation.plant import AnyPlant, Readings, Vector


def rate(knob: float) -> float:
    """Return the learning rate that a knob on a log scale stands for."""
    return math.exp(min(knob, 700.0))


class NoisyQuadratic(AnyPlant):
    """Trains weights w on the loss L = sum_i h_i w_i^2 / 2 from noisy gradients; the knob is ln(learning rate).

    The gradient of a step is h_i w_i + s_i * (a standard normal number); the reading is L before it, without noise.

    Attributes:
        curvatures: h, the eigenvalues of the Hessian.
        gradient_noise: s, one number a weight.
        start: w before the first step.

    Raises:
        pydantic.ValidationError: the three differ in length.

    Source: T. Schaul, S. Zhang and Y. LeCun, No more pesky learning rates, ICML 2013, section 3; G. Zhang et al., Which
    algorithmic choices matter at which batch sizes? Insights from a noisy quadratic model, NeurIPS 2019.
    """

    curvatures: Vector = Field(default=(1.0, 0.1), min_length=1)
    gradient_noise: Vector = (0.1, 0.1)
    start: Vector = (1.0, 1.0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        lengths = len(self.curvatures), len(self.gradient_noise), len(self.start)
        if len(set(lengths)) > 1:
            msg = (
                f"A noisy quadratic's curvatures, gradient_noise and start must be of one length; got {lengths}. "
                "Give each weight all three."
            )
            raise ValueError(msg)
        return self

    @property
    def draws(self) -> int:
        """One a weight."""
        return len(self.curvatures)

    @abstractmethod
    def weights(self, state: Any) -> Vector:
        """Return w."""

    def observe(self, state: Any, noise: Vector) -> Readings:
        """Return the loss."""
        del noise
        return (self.loss(self.weights(state)),)

    def loss(self, weights: Vector) -> float:
        """Return L at `weights`."""
        return sum(h * w * w for h, w in zip(self.curvatures, weights, strict=True)) / 2

    def gradient(self, weights: Vector, noise: Vector) -> list[float]:
        """Return the noisy gradient at `weights`."""
        columns = zip(self.curvatures, weights, self.gradient_noise, noise, strict=True)
        return [h * w + s * z for h, w, s, z in columns]


class QuadraticSGD(NoisyQuadratic):
    """Is a `NoisyQuadratic` under plain gradient descent: w <- w - rate * gradient. It diverges above 2 / max(h)."""

    def init(self) -> Vector:
        """Return `start`."""
        return self.start

    def weights(self, state: Vector) -> Vector:
        """The weights are the whole state."""
        return state

    def advance(self, state: Vector, knobs: Vector, noise: Vector) -> Vector:
        """Take one step."""
        r = rate(knobs[0])
        return tuple([w - r * g for w, g in zip(state, self.gradient(state, noise), strict=True)])

    def expected_loss(self, knob: float, ticks: float) -> float:
        """Return the mean of L after `ticks` steps at a constant knob; at infinity where it settles.

        E w_i^2 = k^t start_i^2 + rate^2 s_i^2 (1 - k^t) / (1 - k) with k = (1 - rate h_i)^2, of which L is the sum.
        """
        r, total = rate(knob), 0.0
        for h, s, w in zip(self.curvatures, self.gradient_noise, self.start, strict=True):
            kept = (1 - r * h) * (1 - r * h)
            left = _power(kept, ticks)
            grown = ticks if kept == 1 else (1 - left) / (1 - kept)
            # What starts at zero, has no noise or is flat adds nothing, however far the rest diverges.
            parts = ((w * w, left), (r * r * s * s, grown))
            total += sum(h * size * growth for size, growth in parts if h * size) / 2
        return total


class AdamState(NamedTuple):
    """Weights, both moments, and the steps taken."""

    weights: Vector
    first: Vector
    second: Vector
    steps: int


class QuadraticAdam(NoisyQuadratic):
    """Is a `NoisyQuadratic` under Adam with bias correction.

    Source: D. P. Kingma and J. Ba, Adam: A method for stochastic optimization, ICLR 2015, algorithm 1.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = Field(default=1e-8, gt=0)

    def init(self) -> AdamState:
        """Return `start` with moments of zero."""
        zeros = (0.0,) * len(self.start)
        return AdamState(self.start, zeros, zeros, 0)

    def weights(self, state: AdamState) -> Vector:
        """Return w."""
        return state.weights

    def advance(self, state: AdamState, knobs: Vector, noise: Vector) -> AdamState:
        """Take one step."""
        (b1, b2), steps = self.betas, state.steps + 1
        gradient = self.gradient(state.weights, noise)
        first = tuple([b1 * m + (1 - b1) * g for m, g in zip(state.first, gradient, strict=True)])
        second = tuple([b2 * v + (1 - b2) * g * g for v, g in zip(state.second, gradient, strict=True)])
        size = rate(knobs[0]) / (1 - b1**steps)
        correction = 1 - b2**steps
        weights = tuple(
            [
                w - size * m / (math.sqrt(v / correction) + self.epsilon)
                for w, m, v in zip(state.weights, first, second, strict=True)
            ]
        )
        return AdamState(weights, first, second, steps)


def _power(base: float, exponent: float) -> float:
    """Return base to the power, infinity where it overflows."""
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf
