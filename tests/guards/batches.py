"""A source of data whose position goes back."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


class Batches:
    """Normal numbers; batch n is a function of n alone."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape
        self.drawn = 0

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        self.drawn += 1
        return torch.randn(*self.shape, generator=torch.Generator().manual_seed(self.drawn))

    def state_dict(self) -> dict[str, int]:
        return {"drawn": self.drawn}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.drawn = state["drawn"]
