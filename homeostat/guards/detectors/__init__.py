"""Detectors tell faulty readings from normal ones."""

from homeostat.guards.detectors.divergence import Divergence
from homeostat.guards.detectors.non_finite import NonFinite
from homeostat.guards.detectors.oscillation import Oscillation
from homeostat.guards.detectors.out_of_range import OutOfRange
from homeostat.guards.detectors.shift import Shift
from homeostat.guards.detectors.spike import Spike
from homeostat.guards.detectors.stall import Stall

__all__ = ["Divergence", "NonFinite", "Oscillation", "OutOfRange", "Shift", "Spike", "Stall"]
