"""How often a loop decides: often while its knobs move, seldom once they keep still."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from homeostat.part import Part


class Rest(Part):
    """A slower cadence for a loop whose knobs have kept still, until the first decision that moves them again.

    A law hears of all ticks that passed at rest; those beyond the loop's usual `every` it hears of as held, so that an
    integral does not make up for them in one jump.

    Attributes:
        every: ticks between two decisions at rest, a multiple of the loop's own `every`.
        after: ticks for which the knobs must have kept still.
        within: greatest change, in the knobs' coordinates, that counts as still; 0 for none.
    """

    every: int = Field(ge=2)
    after: int = Field(default=100, ge=1)
    within: float = Field(default=0.0, ge=0)


class Pace:
    """The cadence of one loop at work.

    Args:
        usual: ticks between two decisions of a loop that moves its knobs.
        rest: when it may decide less often; None for never.

    Attributes:
        every: ticks between two decisions now.
    """

    def __init__(self, usual: int, rest: Rest | None = None) -> None:
        self._usual = usual
        self.rest = rest
        self.every = usual
        self._place: tuple[float, ...] | None = None
        self._since = 0

    def slept(self, elapsed: int) -> int:
        """Return how many of the `elapsed` ticks since the last decision the rest has added."""
        return max(0, min(elapsed, self.every) - self._usual)

    def heed(self, tick: int, positions: tuple[float, ...] | None) -> None:
        """Choose the cadence after a decision that left the knobs at `positions`; None after one that was held."""
        rest = self.rest
        if rest is None:
            return
        if positions is None or self._moved(positions, rest.within):
            self._place, self._since = positions, tick
        self.every = rest.every if tick - self._since >= rest.after else self._usual

    def shares(self, other: Pace) -> bool:
        """Whether the two are one and the same for good, so that they can share a sensor."""
        return self.rest is None and other.rest is None and self.every == other.every

    def save(self) -> list[Any]:
        """Return all of it as plain data."""
        return [self.every != self._usual, None if self._place is None else list(self._place), self._since]

    def load(self, saved: list[Any]) -> None:
        """Continue from what `save` returned."""
        resting, place, self._since = saved
        self._place = None if place is None else tuple(place)
        self.every = self.rest.every if resting and self.rest is not None else self._usual

    def _moved(self, positions: tuple[float, ...], within: float) -> bool:
        place = self._place
        return place is None or any(abs(a - b) > within for a, b in zip(place, positions, strict=True))
