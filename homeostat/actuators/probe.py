"""One small gradient that tells whether a step is worth a look at all of them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

MANY = 1024
"""Numbers of a gradient that are looked at, where even the smallest one is large."""
FEW = 64
"""Numbers whose norm is taken in Python: half the time of a product."""


class Probe:
    """The size of one small gradient, and what it says of the size of all, from the last quiet steps looked at.

    It is the smallest of the first half of the parameters, which the whole backward pass leads to: a gradient that is
    far larger than usual is so in nearly all tensors, and there most of all, and the smallest costs next to nothing.
    With P and G the greatest squares of its norm and of the norm of all, over the steps remembered, and p its square
    now, the norm of all is taken for at most sqrt(p G / P).

    Args:
        memory: quiet steps remembered.
    """

    def __init__(self, memory: int) -> None:
        self._parameter: Tensor | None = None
        # Found out once: in a step, asking for each property takes as long as the product.
        self._is_row = self._is_short = False
        self._seen: deque[tuple[float, float]] = deque(maxlen=memory)
        self._greatest = self._all = 0.0

    def stands_out(self, limit: float) -> bool:
        """Whether the norm of all may be above `limit` in the step under way, or nothing is known of it."""
        # NaN is not below; a gradient that has been zero all along says nothing.
        return not self._square() * self._all <= limit * limit * self._greatest or not self._greatest

    def note(self, parameters: Sequence[Tensor], norm: float) -> None:
        """Remember the step under way as quiet.

        Args:
            parameters: all that are trained, of which the probe takes one that has a gradient.
            norm: of all their gradients.
        """
        if not 0 < self._square() < float("inf"):
            moving = [p for p in parameters if p.grad is not None]
            self._take(min(moving[: (len(moving) + 1) // 2], key=_worth))
            # Of another gradient they say nothing.
            self._seen.clear()
        self._remember([(self._square(), norm * norm)])

    def save(self, parameters: Sequence[Tensor]) -> list[Any]:
        """Return all of it as plain data, the parameter by its place."""
        places = [i for i, p in enumerate(parameters) if p is self._parameter]
        return [places, [list(pair) for pair in self._seen]]

    def load(self, parameters: Sequence[Tensor], saved: list[Any]) -> None:
        """Continue from what `save` returned."""
        places, seen = saved
        self._take(parameters[places[0]] if places else None)
        self._seen.clear()
        self._remember([(probe, norm) for probe, norm in seen])

    def _take(self, parameter: Tensor | None) -> None:
        self._parameter = parameter
        self._is_row = (
            parameter is not None and parameter.ndim == 1 and len(parameter) <= MANY and not parameter.is_complex()
        )
        self._is_short = parameter is not None and parameter.numel() <= FEW

    def _remember(self, steps: list[tuple[float, float]]) -> None:
        self._seen.extend(steps)
        self._greatest = max((probe for probe, _ in self._seen), default=0.0)
        self._all = max((norm for _, norm in self._seen), default=0.0)

    def _square(self) -> float:
        gradient = None if self._parameter is None else self._parameter.grad
        if gradient is None:
            return float("inf")
        if self._is_row:
            try:
                if self._is_short:
                    norm = math.hypot(*gradient.tolist())
                    return norm * norm
                return gradient.dot(gradient).item()
            except RuntimeError:
                # It is sparse in this step.
                pass
        row = _thinned(gradient)
        return row.dot(row).item()


def _worth(parameter: Tensor) -> tuple[bool, int]:
    """Return the key by which the smallest parameter comes first whose gradient is not all zero."""
    gradient = parameter.grad
    return gradient is None or not bool(_values(gradient).any()), parameter.numel()


def _values(gradient: Tensor) -> Tensor:
    return gradient._values() if gradient.is_sparse else gradient


def _thinned(gradient: Tensor) -> Tensor:
    """Return the real numbers of a gradient in one row; of many, `MANY` to twice that, evenly spaced."""
    values = _values(gradient)
    row = (torch.view_as_real(values) if values.is_complex() else values).flatten()
    return row[:: max(1, len(row) // MANY)]
