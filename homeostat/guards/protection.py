"""All that answers faults in one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Generator

from homeostat.guards.guard import Guard
from homeostat.guards.ladder import Ladder
from homeostat.guards.snapshot import SnapshotPolicy
from homeostat.guards.snapshot_content import Stateful


class Protection(NamedTuple):
    """What answers faults: guards, how they escalate, what there is to go back to, and what goes back with it."""

    guards: Sequence[Guard] = ()
    ladder: Ladder = Ladder()
    snapshots: SnapshotPolicy | None = None
    restores: Sequence[Stateful | Generator] = ()


NOTHING = Protection()
