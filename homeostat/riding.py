"""A controller's state that rides in its clock's own `state_dict`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from homeostat.errors import StateError

_KEY = "homeostat"


def ride(
    optimizer: Optimizer, save: Callable[[], dict[str, Any]], load: Callable[[dict[str, Any]], None]
) -> list[RemovableHandle]:
    """Let what `save` returns ride in the optimizer's state, as "homeostat"; `load` takes it from one that is loaded.

    Raises:
        StateError: from loading the optimizer's state, if `load` raises it; nothing is changed then.
    """

    def put_in(_: Optimizer, state: dict[str, Any]) -> None:
        state[_KEY] = save()

    def take_out(_: Optimizer, state: dict[str, Any]) -> None:
        # A checkpoint of a run without a controller is loaded as it is.
        if _KEY not in state:
            return
        try:
            load(state.pop(_KEY))
        except StateError as error:
            msg = (
                f"{error} It rides in the optimizer's state: take {_KEY!r} out of that before loading it, and give it "
                "to Homeostat.load_state_dict."
            )
            raise StateError(msg) from error

    return [
        optimizer.register_state_dict_post_hook(put_in),
        optimizer.register_load_state_dict_pre_hook(take_out),
    ]
