"""A step that is not taken."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from homeostat.guards.optimizer_tree import SCHEDULED


class Withheld:
    """Gradients kept from an optimizer for the length of a step: it then changes neither weights nor its own state.

    Zeros in their place would move moments and counters, and zero times NaN is NaN. What an optimizer counts in its
    groups without looking at gradients (Schedule-Free) is put back.

    Attributes:
        open: whether a step is being withheld.
    """

    def __init__(self) -> None:
        self._held: list[tuple[Tensor, Tensor]] = []
        self._counted: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.open = False

    def take(self, optimizer: Optimizer) -> None:
        """Take the gradients away."""
        self.open = True
        for group in optimizer.param_groups:
            # A schedule may have moved on where a step raised.
            self._counted.append((group, {k: v for k, v in group.items() if k != "params" and k not in SCHEDULED}))
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._held.append((parameter, parameter.grad))
                    parameter.grad = None

    def give_back(self) -> None:
        """Put back what was taken, where nothing else has come since."""
        counted, self._counted = self._counted, []
        for group, numbers in counted:
            group.update(numbers)
        held, self._held, self.open = self._held, [], False
        for parameter, gradient in held:
            if parameter.grad is None:
                parameter.grad = gradient
