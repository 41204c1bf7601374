"""Keeps what a parameter-only computation gave, while many calls in a row use the same parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import is_
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

Result = TypeVar("Result")


class Memo(nn.Module, Generic[Result]):
    """Computes a result once and gives it again until a tensor it was made of changes.

    Off but within `remembering`, and wherever gradients or a compiler want to see the computation itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.active = False
        self._sources: list[Tensor] = []
        self._versions: list[int] = []
        self._result: Result | None = None

    @property
    def keeps(self) -> bool:
        """Whether a result will be given again."""
        return self.active and not torch.is_grad_enabled() and not torch.compiler.is_compiling()

    def forward(self, sources: Sequence[Tensor], make: Callable[[], Result]) -> Result:
        """Return `make()`, or what it returned when `sources` were the same tensors at the same versions."""
        if not self.keeps:
            return make()
        versions = [0 if source.is_inference() else source._version for source in sources]
        same = versions == self._versions and all(map(is_, sources, self._sources))
        if self._result is None or not same:
            # The sources are kept, so that no other tensor can come to stand for one of them.
            self._sources, self._versions, self._result = [*sources], versions, make()
        return self._result

    def forget(self) -> None:
        """Drop what is kept and stop keeping."""
        self.active, self._sources, self._versions, self._result = False, [], [], None

    def __getstate__(self) -> dict[str, Any]:
        # A copy of the model has parameters of its own.
        kept = super().__getstate__()  # type: ignore[no-untyped-call]
        return {**kept, "active": False, "_sources": [], "_versions": [], "_result": None}


@contextmanager
def remembering(model: nn.Module) -> Iterator[None]:
    """Let every memo of the model keep its result until the block ends, for decoding token by token."""
    memos = [module for module in model.modules() if isinstance(module, Memo)]
    for memo in memos:
        memo.active = True
    try:
        yield
    finally:
        for memo in memos:
            memo.forget()
