"""Which steps are looked at by a limit that acts within the step."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor

from homeostat.landing import Landing
from homeostat.norms import at_hand

# Steps after which a device's answer has arrived on the host.
_FLIGHT = 8


class Lots:
    """Inspects every step until `calm` in a row were quiet, and then one in `lot`, until one is not.

    An outlier that comes alone among quiet steps is then seen with probability 1 / lot, and one that lasts is seen
    within `lot` steps. If steps are unquiet with probability p, each by itself, the part (1 - 1 / lot) q /
    (q + (1 - q) / lot) of them passes without a look, q = (1 - p)^calm: none of those that are frequent.

    Where the numbers are on a device, the host hears of them `_FLIGHT` steps late, and so does the rule.

    Source: H. F. Dodge, A sampling inspection plan for continuous production, 1943 (CSP-1, with steps at equal
    distances in place of random ones, which then fall together with a loop's own readings).

    Attributes:
        quiet: quiet inspections in a row.
        faults: that guards had found when it last heard of them.
    """

    def __init__(self) -> None:
        self.quiet = 0
        self._coming: deque[tuple[int, Landing]] = deque()
        self.faults = 0
        # No step before this one is inspected.
        self._next = 0

    def due(self, tick: int, lot: int, calm: int) -> bool:
        """Whether the step of this tick is to be inspected."""
        if tick < self._next:
            return False
        while self._coming and self._coming[0][0] <= tick:
            self._count(near=self._coming.popleft()[1].tolist())
        if self.quiet < calm or tick % lot == 0:
            return True
        if not self._coming:
            self._next = tick - tick % lot + lot
        return False

    def passes(self, tick: int, faults: int) -> bool:
        """Whether it is known already that the step of this tick is not inspected; `faults` as in `hear`."""
        return tick < self._next and faults == self.faults

    def note(self, tick: int, near: Tensor | bool) -> None:
        """Take in whether the step of this tick came near the limit; shape () where it is a tensor."""
        if isinstance(near, Tensor) and at_hand(near) is None:
            self._coming.append((tick + _FLIGHT, Landing(near)))
        else:
            self._count(near=bool(near))

    def hear(self, faults: int) -> bool:
        """Inspect every step again if guards have found a fault since; says so. `faults` is their number so far."""
        if faults == self.faults:
            return False
        self.faults, self.quiet, self._next = faults, 0, 0
        self._coming.clear()
        return True

    def save(self) -> list[Any]:
        """Return all of it as plain data."""
        return [self.quiet, [[tick, near.tolist()] for tick, near in self._coming]]

    def load(self, saved: list[Any], faults: int) -> None:
        """Continue from what `save` returned, in a run that now counts so many faults."""
        self.faults, self._next = faults, 0
        self.quiet, coming = saved
        self._coming = deque((tick, Landing(torch.tensor(near, device="cpu"))) for tick, near in coming)

    def _count(self, *, near: bool) -> None:
        self.quiet = 0 if near else self.quiet + 1
        if near:
            self._next = 0
