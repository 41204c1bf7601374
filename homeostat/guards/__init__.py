"""Guards answer what feedback is too slow for: faults, within the step or by going back."""

from homeostat.guards.detector import Detector, Finding

__all__ = ["Detector", "Finding"]
