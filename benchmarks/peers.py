"""What others steer with, as laws, so that the same loop can run theirs and ours.

Each is its published formula with its published constants. The two schedulers are not written anew: the laws drive
PyTorch's and Hugging Face's own classes, so their state is a live object and no data; that is enough for a simulation.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from pydantic import Field
from torch.optim.lr_scheduler import ReduceLROnPlateau

from homeostat.laws import Decision, Input, Law

# As the rule stands in RLHF libraries: 256 episodes an update over a horizon of 10000.
LIBRARY_RATE = 256 / 10_000


class PublishedKL(Law):
    """Multiplies a penalty's weight by 1 + rate * clip(y / r - 1, -clip, clip); the knob is the weight's logarithm.

    Attributes:
        rate: K_beta; 0.1 in the paper, `LIBRARY_RATE` in the libraries.
        clip: of the relative error.

    Source: D. M. Ziegler et al., Fine-Tuning Language Models from Human Preferences, 2019, section 2.2.
    """

    rate: float = Field(default=0.1, gt=0)
    clip: float = Field(default=0.2, gt=0)

    @property
    def needs_setpoint(self) -> bool:
        """The target divergence."""
        return True

    def init(self) -> tuple[()]:
        """Return the empty state."""
        return ()

    def update(self, state: tuple[()], given: Input) -> Decision:
        """Multiply once."""
        error = min(max(given.readings[0] / given.setpoints[0] - 1, -self.clip), self.clip)
        return Decision((given.admitted[0] + math.log1p(self.rate * error),), state, {})


class PublishedADA(Law):
    """Raises the probability of augmentation by a fixed step while the overfitting heuristic is above its target.

    p <- max(0, p + sign(y - r) batch interval / (1000 speed)), at every `interval`th minibatch, which is the tick.

    Attributes:
        batch: images in a minibatch.
        interval: minibatches between two decisions.
        speed: thousands of images in which p can go from 0 to 1.

    Source: T. Karras et al., Training Generative Adversarial Networks with Limited Data, 2020, section 3.1.
    """

    batch: int = Field(default=64, ge=1)
    interval: int = Field(default=4, ge=1)
    speed: float = Field(default=500.0, gt=0)

    @property
    def needs_setpoint(self) -> bool:
        """The target of the heuristic."""
        return True

    def init(self) -> tuple[()]:
        """Return the empty state."""
        return ()

    def update(self, state: tuple[()], given: Input) -> Decision:
        """Step once."""
        error = given.readings[0] - given.setpoints[0]
        step = math.copysign(self.batch * self.interval / (1000 * self.speed), error) if error else 0.0
        return Decision((max(0.0, given.admitted[0] + step),), state, {})


class PublishedTCP(Law):
    """Is TCP's congestion window in segments, a decision a round trip; a reading above the setpoint is a lost segment.

    Slow start doubles the window up to the threshold (without limit before the first loss), congestion avoidance adds a
    segment; a loss sets the threshold to half the window, two segments at least, and the window to that.

    Source: M. Allman, V. Paxson and E. Blanton, TCP Congestion Control, RFC 5681, 2009, sections 3.1 and 3.2.
    """

    @property
    def needs_setpoint(self) -> bool:
        """Above it, segments are lost."""
        return True

    def init(self) -> float | None:
        """Return the state without a threshold."""
        return None

    def update(self, state: float | None, given: Input) -> Decision:
        """Double, add or halve."""
        window = given.admitted[0]
        if given.readings[0] > given.setpoints[0]:
            threshold = max(2.0, window / 2)
            return Decision((threshold,), threshold, {})
        if state is None or window < state:
            return Decision((min(2 * window, math.inf if state is None else state),), state, {})
        return Decision((window + 1.0,), state, {})


class SchedulerLaw(Law):
    """Lets a learning-rate scheduler that reads a metric decide; the knob is the learning rate's logarithm."""

    @abstractmethod
    def make(self, optimizer: torch.optim.Optimizer) -> Any:
        """Return the scheduler."""

    def init(self) -> Any:
        """Return a scheduler of an optimizer that trains nothing."""
        return self.make(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0))

    def update(self, state: Any, given: Input) -> Decision:
        """Show it the present rate and the reading; take its next rate."""
        (group,) = state.optimizer.param_groups
        group["lr"] = before = math.exp(given.admitted[0])
        state.step(given.readings[0])
        # An untouched rate leaves the knob where it is, free of rounding.
        moved = given.admitted[0] if group["lr"] == before else math.log(group["lr"])
        return Decision((moved,), state, {})


class TorchPlateau(SchedulerLaw):
    """Is `torch.optim.lr_scheduler.ReduceLROnPlateau` with its defaults: a tenth after 10 readings without a best."""

    patience: int = Field(default=10, ge=0)

    def make(self, optimizer: torch.optim.Optimizer) -> ReduceLROnPlateau:
        """Return PyTorch's own."""
        return ReduceLROnPlateau(optimizer, patience=self.patience)


class PublishedGreedy(SchedulerLaw):
    """Is Hugging Face's GreedyLR: the rate over 0.95 after improvements in a row, times 0.95 after as many failures.

    Source: S. Subramanian et al., Dynamic Learning Rate Scheduling based on Loss Changes Leads to Faster Convergence,
    2025, algorithm 1; `transformers.GreedyLR`, whose authors' defaults these are.
    """

    patience: int = Field(default=10, ge=0)

    def make(self, optimizer: torch.optim.Optimizer) -> Any:
        """Return Hugging Face's own, with its limits of 0.001 and 1."""
        from transformers.optimization import GreedyLR  # noqa: PLC0415 - its import takes seconds

        return GreedyLR(optimizer, patience=self.patience)
