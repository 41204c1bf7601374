"""Detectors tell faulty readings from normal ones."""

from homeostat.guards.detectors.non_finite import NonFinite
from homeostat.guards.detectors.spike import Spike

__all__ = ["NonFinite", "Spike"]
