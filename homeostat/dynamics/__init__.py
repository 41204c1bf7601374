"""Linear models of a plant, found in recordings: what laws and analysis share. `homeostat.analysis` has the names."""

from __future__ import annotations

from homeostat.dynamics.fit import Fit, Interval
from homeostat.dynamics.identification import identify
from homeostat.dynamics.margins import Margins
from homeostat.dynamics.model import (
    ARXModel,
    FirstOrderModel,
    IntegratorModel,
    PlantModel,
    SecondOrderModel,
)
from homeostat.dynamics.recording import Recording

__all__ = [
    "ARXModel",
    "FirstOrderModel",
    "Fit",
    "IntegratorModel",
    "Interval",
    "Margins",
    "PlantModel",
    "Recording",
    "SecondOrderModel",
    "identify",
]
