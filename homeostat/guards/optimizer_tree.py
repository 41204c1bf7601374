"""An optimizer as a tree of plain data and tensors, and put back in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from homeostat.errors import StateError
from homeostat.guards.tensor_tree import PutBack

# What schedules write into a group. Where the run goes on instead of being replayed, the schedule goes on too.
SCHEDULED = frozenset({"lr", "initial_lr", "max_lr", "min_lr", "momentum", "betas", "weight_decay"})


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """Return the parameters in group order, which is how a state names them."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def optimizer_state(optimizer: Optimizer) -> dict[Any, Any]:
    """Return the state, with parameters by their number; `state_dict` would call the hooks of others."""
    numbers = {id(parameter): i for i, parameter in enumerate(parameters_of(optimizer))}
    state = {numbers.get(id(key), key): value for key, value in optimizer.state.items()}
    # A tensor that is no parameter of this optimizer could not be named again.
    return {key: value for key, value in state.items() if not isinstance(key, Tensor)}


def optimizer_groups(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return the settings of the groups."""
    return [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]


def refuse_fewer_groups(optimizer: Optimizer, tree: Mapping[str, Any]) -> None:
    """Refuse an optimizer that lacks groups or parameters of the tree; it may have more.

    Raises:
        StateError: it does.
    """
    here, saved = len(optimizer.param_groups), len(tree["groups"])
    parameters = len(parameters_of(optimizer))
    known = 1 + max((key for key in tree["state"] if isinstance(key, int)), default=-1)
    if here < saved or parameters < known:
        msg = (
            f"{type(optimizer).__name__} must have the parameter groups of the snapshot; got {here} with {parameters} "
            f"parameters for {saved} with {known} or more. Add the groups again before resuming."
        )
        raise StateError(msg)


def optimizer_back(optimizer: Optimizer, tree: Mapping[str, Any], back: PutBack, *, replay: bool) -> None:
    """Make state and groups what they were.

    Args:
        optimizer: changed in place.
        tree: the skeletons of `optimizer_state` and `optimizer_groups`, by "state" and "groups".
        back: puts tensors back.
        replay: put back what schedules write, too.
    """
    parameters = parameters_of(optimizer)
    state: dict[Any, Any] = {}
    for key, saved in tree["state"].items():
        like = parameters[key] if isinstance(key, int) else None
        found = key if like is None else like
        state[found] = back.merged(optimizer.state.get(found), saved, like)
    # The same dictionary: an optimizer may keep a reference to it.
    optimizer.state.clear()
    optimizer.state.update(state)
    # A group that came after the snapshot stays as it is.
    for group, saved_group in zip(optimizer.param_groups, tree["groups"], strict=False):
        for key, saved in saved_group.items():
            if replay or key not in SCHEDULED:
                group[key] = back.merged(group.get(key), saved)
