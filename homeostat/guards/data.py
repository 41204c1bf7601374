"""Whatever gives out a run's data, and whether it goes back when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from typing import Any

from torch import nn

from homeostat.guards.tensor_tree import same


def gives_data(found: object) -> bool:
    """Whether `found` gives out data; a module that holds others can be iterated over, too."""
    return isinstance(found, (Iterable, Iterator)) and not isinstance(found, nn.Module)


class Data:
    """The loaders of a run, which go back while they are iterated over; many only do so in their next pass.

    Args:
        restores: the loaders are among them.

    Attributes:
        replays: whether there are any, and all of them have gone back whenever they were told to.
    """

    def __init__(self, restores: Sequence[Any]) -> None:
        self._loaders = [found for found in restores if gives_data(found)]
        self.replays = bool(self._loaders)
        self._given: list[Any] | None = None

    def rewind(self, saved: Callable[[], list[Any]], agreed: Callable[[int], int]) -> str:
        """Set the loaders back; where one does not go, all stay where they are, now and later, and it is said why.

        One of which nobody can tell is taken to have gone.

        Args:
            saved: makes the states that they had, anew at each call.
            agreed: the least of the ranks' numbers.
        """
        before = self._states()
        self._load(saved())
        if agreed(int(same(self._states(), saved()) is not False)):
            self._given = saved() if same(before, saved()) is False else None
            return ""
        self._load(before)
        return self._give_up("whose state_dict() is not what it was given")

    def look(self) -> None:
        """After a step that is taken again: note whether loaders that went back have given out data since.

        After a whole epoch of such steps their state may be again as it was set.
        """
        if self._given is not None and same(self._states(), self._given) is not True:
            self._given = None

    def moves(self, agreed: Callable[[int], int]) -> str:
        """After as many steps as it took before: say where loaders that went back have not given out data again.

        One whose state has stayed as it was set is not what the loop draws from: that iterator has not heard of it.
        """
        self.look()
        moved = agreed(int(self._given is None))
        self._given = None
        return "" if moved else self._give_up("from which nothing was drawn since, so that other steps were taken")

    def _give_up(self, why: str) -> str:
        self.replays = False
        names = ", ".join(type(loader).__name__ for loader in self._loaders)
        return (
            f"A loader in `restores` must go back while it is iterated over; got {names}, {why}. From now on data, "
            "tick and schedules do not go back. Let its load_state_dict act at once, or leave it out."
        )

    def _states(self) -> list[Any]:
        return [deepcopy(loader.state_dict()) for loader in self._loaders]

    def _load(self, states: list[Any]) -> None:
        for loader, state in zip(self._loaders, states, strict=True):
            loader.load_state_dict(state)
