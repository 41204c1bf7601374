"""Guards answer what feedback is too slow for: faults, within the step or by going back."""

from homeostat.guards.detector import Detector, Finding
from homeostat.guards.guard import Guard
from homeostat.guards.ladder import Ladder
from homeostat.guards.random_state import random_state, restore_random_state
from homeostat.guards.snapshot import SnapshotPolicy
from homeostat.guards.snapshot_content import Stateful

__all__ = [
    "Detector",
    "Finding",
    "Guard",
    "Ladder",
    "SnapshotPolicy",
    "Stateful",
    "random_state",
    "restore_random_state",
]
