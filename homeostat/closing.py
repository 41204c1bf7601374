"""Cleaning up that goes on after an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable


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
