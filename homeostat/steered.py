"""Which optimizers can be steered, which are steered already, and which never step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from weakref import WeakSet

from torch import nn
from torch.optim import Optimizer

from homeostat.errors import AttachError
from homeostat.plant import Plant

# Calls of `observe` after which a first step is missed. Gradients of some hundred batches may be accumulated for it.
PATIENCE = 1000
# Two controllers would undo each other's changes in the wrong order.
STEERED: WeakSet[Optimizer] = WeakSet()


def refuse_unsteerable(optimizers: Sequence[Optimizer]) -> None:
    """Refuse optimizers without step hooks, and those that another controller steers.

    Raises:
        AttachError: one of them is of this kind.
    """
    for i, optimizer in enumerate(optimizers):
        if not isinstance(optimizer, Optimizer) or not hasattr(optimizer, "_optimizer_step_pre_hooks"):
            msg = (
                f"An optimizer must be a torch.optim.Optimizer with step hooks; got {type(optimizer).__name__}. "
                "Pass the optimizer that a wrapper holds."
            )
            raise AttachError(msg)
        if optimizer in STEERED or any(optimizer is other for other in optimizers[:i]):
            msg = (
                f"An optimizer must be steered once; got a {type(optimizer).__name__} that is steered already. "
                "Detach the first Homeostat, or give it all the loops."
            )
            raise AttachError(msg)


def refuse_hidden_state(optimizers: Sequence[Optimizer]) -> None:
    """Refuse optimizers whose state is held by another one, where it must go back or begin anew.

    Raises:
        AttachError: one of them is of this kind.
    """
    for optimizer in optimizers:
        # By name: the module that it is in takes long to import.
        if "ZeroRedundancyOptimizer" in {kind.__name__ for kind in type(optimizer).__mro__}:
            msg = (
                "Snapshots and guards that answer 'reset' must reach the optimizer's state; got a "
                f"{type(optimizer).__name__}, which keeps it in an optimizer of its own. Shard by fully_shard instead, "
                "or build the Homeostat with snapshots=None and without such guards."
            )
            raise AttachError(msg)


def strangers(model: nn.Module, optimizers: Sequence[Optimizer]) -> list[str]:
    """Say which optimizers hold none of the model's parameters: steering them would not steer it."""
    own = {id(parameter) for parameter in model.parameters()}
    return [
        f"An optimizer must hold parameters of the model; got {type(o).__name__} with none of them. Attach the model "
        "that it steps, or make the optimizer after the model has its parameters."
        for o in optimizers
        if own and not any(id(p) in own for group in o.param_groups for p in group["params"])
    ]


class Waiting:
    """Waits for the first step of the clock while metrics are observed, and says where there is none.

    Args:
        plant: whose clock.
        warn: takes the text.
    """

    def __init__(self, plant: Plant, warn: Callable[[str], None]) -> None:
        self._plant, self._since, self._warn = plant, plant.tick, warn
        self._calls = 0

    def over(self) -> bool:
        """Count a call of `observe`; whether there was a step, or it was told that there is none."""
        if self._plant.tick != self._since:
            return True
        self._calls += 1
        if self._calls < PATIENCE:
            return False
        self._warn(
            f"An optimizer that is attached must step; got {PATIENCE} calls of observe and no step of "
            f"{type(self._plant.optimizers[0]).__name__}. Attach the optimizer whose step the loop calls; one that is "
            "made later is another."
        )
        return True
