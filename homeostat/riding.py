"""A controller's state that rides in its clock's own `state_dict`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from homeostat.errors import StateError

_KEY = "homeostat"


def ride(
    optimizer: Optimizer,
    save: Callable[[], dict[str, Any]],
    check: Callable[[dict[str, Any]], None],
    load: Callable[[dict[str, Any]], None],
) -> list[RemovableHandle]:
    """Let what `save` returns ride in the optimizer's state, as "homeostat"; `load` takes it from one that is loaded.

    It is loaded once the optimizer's own is, which may refuse it.

    Raises:
        StateError: from loading the optimizer's state, if `check` raises it; nothing is changed then.
    """
    riding: list[dict[str, Any]] = []

    def put_in(_: Optimizer, state: dict[str, Any]) -> None:
        state[_KEY] = save()

    def take_out(_: Optimizer, state: dict[str, Any]) -> None:
        riding.clear()
        # A checkpoint of a run without a controller is loaded as it is.
        if _KEY not in state:
            return
        try:
            check(state[_KEY])
        except StateError as error:
            msg = (
                f"{error} It rides in the optimizer's state: take {_KEY!r} out of that before loading it, and give it "
                "to Homeostat.load_state_dict."
            )
            raise StateError(msg) from error
        riding.append(state.pop(_KEY))

    def hand_over(_: Optimizer) -> None:
        while riding:
            load(riding.pop())

    return [
        optimizer.register_state_dict_post_hook(put_in),
        optimizer.register_load_state_dict_pre_hook(take_out),
        optimizer.register_load_state_dict_post_hook(hand_over),
    ]
