"""A step that is not taken."""

from __future__ import annotations

from torch import Tensor
from torch.optim import Optimizer


class Withheld:
    """Gradients kept from an optimizer for the length of a step: it then changes neither weights nor its own state.

    Zeros in their place would move moments and counters, and zero times NaN is NaN.

    Attributes:
        open: whether a step is being withheld.
    """

    def __init__(self) -> None:
        self._held: list[tuple[Tensor, Tensor]] = []
        self.open = False

    def take(self, optimizer: Optimizer) -> None:
        """Take the gradients away."""
        self.open = True
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._held.append((parameter, parameter.grad))
                    parameter.grad = None

    def give_back(self) -> None:
        """Put back what was taken, where nothing else has come since."""
        held, self._held, self.open = self._held, [], False
        for parameter, gradient in held:
            if parameter.grad is None:
                parameter.grad = gradient
