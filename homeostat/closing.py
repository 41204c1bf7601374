"""Cleaning up: what is called when the controller detaches, and going on after an error."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from torch.utils.hooks import RemovableHandle


def run_all(actions: Iterable[Callable[[], object]]) -> None:
    """Call every action, whatever the others raise; the first error is raised at the end."""
    first: BaseException | None = None
    for action in actions:
        try:
            action()
        # Also an interrupt: half a cleaning up would leave knobs moved and files open.
        except BaseException as error:  # noqa: BLE001
            first = first or error
    if first is not None:
        raise first


class Closing(RemovableHandle):
    """A handle of which removing it is a call."""

    def __init__(self, close: Callable[[], object]) -> None:
        super().__init__(OrderedDict())
        self._close = close

    def remove(self) -> None:
        """Call it."""
        self._close()
