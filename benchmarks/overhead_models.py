"""Training steps to be timed: models of three sizes, and one size in 1 to 1000 tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import cycle

import torch
from torch import Tensor, nn

BATCHES = 32


class Workload:
    """A model and the batches that it is trained on, by turns: noise, so that its loss goes on falling slowly.

    Args:
        model: what is trained.
        inputs: makes the inputs of one batch.
        targets: makes a class for each row of the output.
    """

    def __init__(self, model: nn.Module, inputs: Callable[[], Tensor], targets: Callable[[], Tensor]) -> None:
        self.model = model
        self._batches = cycle([(inputs(), targets()) for _ in range(BATCHES)])
        self._criterion = nn.CrossEntropyLoss()

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of the next batch."""
        return next(self._batches)

    def loss(self) -> Tensor:
        """Return the loss of the next batch."""
        inputs, targets = self.batch()
        outputs = self.model(inputs)
        loss: Tensor = self._criterion(outputs.flatten(0, -2), targets.flatten())
        return loss


def mlp() -> Workload:
    """About 1.5 ms a step."""
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    return Workload(model, lambda: torch.randn(128, 64), lambda: torch.randint(10, (128,)))


def cnn() -> Workload:
    """About 10 ms a step."""
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(64, 10))
    return Workload(model, lambda: torch.randn(16, 1, 16, 16), lambda: torch.randint(10, (16,)))


def transformer() -> Workload:
    """About 100 ms a step, 75 tensors."""
    layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.1, batch_first=True, norm_first=True)
    body = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
    model = nn.Sequential(nn.Embedding(100, 128), body, nn.Linear(128, 100))
    tokens = partial(torch.randint, 100, (8, 48))
    return Workload(model, tokens, tokens)


class Parallel(nn.Module):
    """`count` square matrices of `width`, each by itself between an input and the mean of all."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.matrices = nn.ParameterList(torch.randn(width, width) / width**0.5 for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of what the matrices make of `x`, shape (batch, width)."""
        return torch.stack([x @ matrix for matrix in self.matrices]).mean(dim=0)


def parallel(count: int, width: int) -> Workload:
    """About a million weights in `count` tensors."""
    model = Parallel(count, width)
    return Workload(model, lambda: torch.randn(32, width), lambda: torch.randint(width, (32,)))


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "mlp": mlp,
    "cnn": cnn,
    "transformer": transformer,
    "1 tensor": partial(parallel, 1, 1024),
    "10 tensors": partial(parallel, 10, 320),
    "1000 tensors": partial(parallel, 1000, 32),
}
