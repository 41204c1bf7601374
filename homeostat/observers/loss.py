"""What the training loop reports about its own loss: level, trend, and the gap to validation."""

from __future__ import annotations

import math
from typing import NamedTuple

from pydantic import Field
from torch import Tensor

from homeostat.metrics import MetricReader
from homeostat.observers.observer import Observer
from homeostat.plant import Plant


class Smoothed(NamedTuple):
    """An exponential average under way: weighted sum of the readings, and the sum of the weights."""

    total: float
    weight: float


class Loss(Observer):
    """Reads a metric given to `Homeostat.observe`: its mean since the last reading, optionally smoothed.

    With time constant k = `smoothing`, a = exp(-1 / k) and readings x_0 ... x_n, the reading is
    sum_i a^(n-i) x_i / sum_i a^(n-i): an exponential average that is unbiased from the first reading on.

    Attributes:
        metric: name under which the training loop reports it.
        smoothing: time constant in readings (one reading comes each time the loop is due); 0 for none.
    """

    metric: str = "loss"
    smoothing: float = Field(default=0.0, ge=0)

    def init(self, plant: Plant) -> MetricReader:
        """Start an interval of averaging."""
        return plant.metrics.reader(self.metric)

    def observe(self, plant: Plant, memory: MetricReader) -> Tensor | float | None:
        """Return the mean over the ticks since the last reading."""
        del plant
        return memory.take()

    def start(self) -> Smoothed:
        """Begin with nothing averaged."""
        return Smoothed(0.0, 0.0)

    def interpret(self, value: float, history: Smoothed) -> tuple[float, Smoothed]:
        """Smooth `value`; a non-finite one is passed on and leaves the average alone."""
        if self.smoothing == 0 or not math.isfinite(value):
            return value, history
        decay = math.exp(-1 / self.smoothing)
        history = Smoothed(history.total * decay + value, history.weight * decay + 1)
        return history.total / history.weight, history


class LossTrend(Observer):
    """Measures how fast a metric changes, relative to its size; positive means that it rises.

    The reading is slope / |mean| of the last n = `window` values y_0 ... y_{n-1}, with the least-squares slope
    sum_i (i - (n-1)/2) y_i / (n (n^2 - 1) / 12): the relative change per reading (a loop due every 10 ticks
    has 10 ticks a reading). There is none until the window is full.

    Attributes:
        metric: name under which the training loop reports it.
        window: readings the line is fitted to.
    """

    metric: str = "loss"
    window: int = Field(default=10, ge=3)

    def init(self, plant: Plant) -> MetricReader:
        """Start an interval of averaging."""
        return plant.metrics.reader(self.metric)

    def observe(self, plant: Plant, memory: MetricReader) -> Tensor | float | None:
        """Return the mean over the ticks since the last reading."""
        del plant
        return memory.take()

    def interpret(self, value: float, history: tuple[float, ...]) -> tuple[float | None, tuple[float, ...]]:
        """Fit the line; a non-finite value is passed on and leaves the window alone."""
        if not math.isfinite(value):
            return value, history
        history = (*history, value)[-self.window :]
        n = len(history)
        if n < self.window:
            return None, history
        slope = sum((i - (n - 1) / 2) * y for i, y in enumerate(history)) * 12 / (n * (n * n - 1))
        # Below the smallest normal number a quotient would overflow.
        return slope / max(abs(sum(history) / n), 1e-300), history


class _Readers:
    """A reader of each loss, and the last training mean, for an evaluation that follows another at once."""

    def __init__(self, training: MetricReader, validation: MetricReader) -> None:
        self.training = training
        self.validation = validation
        self.last: Tensor | float | None = None


class GeneralizationGap(Observer):
    """Measures how much worse the model does on data it was not trained on: validation minus training loss.

    Both are means over the interval since the last reading; there is a reading whenever a validation loss was
    reported in it, however rarely that is. The training mean looks back over the interval, so while the loss
    falls fast the gap reads too low: evaluate often enough that it falls little between two evaluations.

    Attributes:
        training: metric of the training loss.
        validation: metric of the validation loss.
        relative: divide the gap by the training loss.
    """

    training: str = "loss"
    validation: str = "validation_loss"
    relative: bool = False

    def init(self, plant: Plant) -> _Readers:
        """Start an interval of averaging for both losses."""
        return _Readers(plant.metrics.reader(self.training), plant.metrics.reader(self.validation))

    def observe(self, plant: Plant, memory: _Readers) -> Tensor | float | None:
        """Return the difference of the means, or None until a validation loss arrives."""
        del plant
        validation = memory.validation.take()
        if validation is None:
            return None
        training = memory.training.take()
        memory.last = training = memory.last if training is None else training
        if training is None:
            return None
        gap = validation - training
        return _ratio(gap, training) if self.relative else gap

    def save(self, memory: _Readers) -> float | None:
        """Return the last training mean."""
        return None if memory.last is None else float(memory.last)

    def load(self, plant: Plant, memory: _Readers, saved: float | None) -> None:
        """Continue from it."""
        del plant
        memory.last = saved


def _ratio(a: Tensor | float, b: Tensor | float) -> Tensor | float:
    """Return a / b, which is not finite where b is 0."""
    return a / b if isinstance(b, Tensor) or b else a * math.inf
