"""The gap between validation and training loss of a linear model, with the dropout rate as the knob."""

from __future__ import annotations

import math

from pydantic import Field

from homeostat.simulation.plant import SimulatedPlant


class DropoutGap(SimulatedPlant):
    """Learns its training set by heart as far as dropout lets it; the reading is validation loss minus training loss.

    A linear regression of d orthogonal inputs on n samples with noise of variance s^2, trained by gradient flow from
    zero. Dropping inputs at the rate p penalises its weights by p / (1 - p), so the weights approach 1 - p of the
    least-squares solution with the time constant (1 - p) `time_constant`; what they have reached of it, c, memorises
    the noise:

    gap = `optimism` c,   optimism = 2 s^2 d / n,
    c(t + 1) = 1 - p + (c(t) - (1 - p)) exp(-1 / ((1 - p) time_constant)).

    Times are in ticks; the knob counts as held within [0, 0.999].

    Attributes:
        optimism: the gap of a fully trained model without dropout.
        time_constant: of the training, in ticks.
        noise: standard deviation of the reading's noise.
        learned: c before the first tick.

    Sources: B. Efron, How biased is the apparent error rate of a prediction rule?, JASA 81, 1986 (optimism is twice the
    covariance of noise and fit); N. Srivastava et al., Dropout, JMLR 15, 2014, section 9.1 (its penalty).
    """

    optimism: float = Field(default=1.0, gt=0)
    time_constant: float = Field(default=50.0, gt=0)
    noise: float = Field(default=0.0, ge=0)
    learned: float = Field(default=0.0, ge=0, le=1)

    def init(self) -> float:
        """Return what is learned."""
        return self.learned

    def read(self, state: float, noise: float) -> float:
        """Return the gap with noise."""
        return self.optimism * state + self.noise * noise

    def step(self, state: float, knob: float) -> float:
        """Train for one tick."""
        goal = 1 - min(max(knob, 0.0), 0.999)
        return state - math.expm1(-1 / (goal * self.time_constant)) * (goal - state)
