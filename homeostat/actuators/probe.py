"""Two gradients that tell whether a step is worth a look at all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Probe:
    """The norm of two small gradients, beside the greatest that it had in the last quiet steps looked at.

    They are the smallest of the first half of the parameters, which the whole backward pass leads to, and the smallest
    of the second, next to the loss. A gradient that is far larger than usual is so in nearly all tensors, and these
    cost next to nothing. A step without an outlier stands out about once in as many steps as are remembered, and is
    then looked at for nothing.

    Args:
        memory: quiet steps remembered.
    """

    def __init__(self, memory: int) -> None:
        self._tensors: list[Tensor] = []
        self._seen: deque[float] = deque(maxlen=memory)
        self._greatest = 0.0

    def stands_out(self) -> bool:
        """Whether the gradients of the step under way are larger than any of late, or none can be told."""
        # NaN does.
        return not self._square() <= self._greatest

    def note(self, parameters: Sequence[Tensor]) -> None:
        """Remember the step under way as quiet.

        Args:
            parameters: all that are trained, of which the probe takes two that have a gradient.
        """
        if not self._tensors or any(p.grad is None for p in self._tensors):
            moving = [p for p in parameters if p.grad is not None]
            halves = moving[: len(moving) // 2], moving[len(moving) // 2 :]
            self._tensors = [min(half, key=Tensor.numel) for half in halves if half]
        self._seen.append(self._square())
        self._greatest = max(self._seen)

    def save(self, parameters: Sequence[Tensor]) -> list[Any]:
        """Return all of it as plain data, tensors by their place among `parameters`."""
        place = {id(p): i for i, p in enumerate(parameters)}
        return [[place[id(p)] for p in self._tensors], list(self._seen)]

    def load(self, parameters: Sequence[Tensor], saved: list[Any]) -> None:
        """Continue from what `save` returned."""
        places, seen = saved
        self._tensors = [parameters[i] for i in places]
        self._seen.clear()
        self._seen.extend(seen)
        self._greatest = max(seen, default=0.0)

    def _square(self) -> float:
        total = 0.0 if self._tensors else float("inf")
        for parameter in self._tensors:
            gradient = parameter.grad
            if gradient is None:
                return float("inf")
            if gradient.is_sparse:
                gradient = gradient._values()
            # A call for each: for two tensors, one for both would take longer.
            total += torch.linalg.vector_norm(gradient).item() ** 2
        return total
