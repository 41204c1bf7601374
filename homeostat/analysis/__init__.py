"""What can be learned of a plant or a loop from its records, and what to do about it."""

from __future__ import annotations

from homeostat.analysis.arx import ARXFit, identify_arx
from homeostat.analysis.feasibility import Feasibility, feasibility
from homeostat.analysis.pairing import Pairing, pair, relative_gains
from homeostat.analysis.stability import margins
from homeostat.analysis.tuning import Tuning, tune
from homeostat.analysis.vitals import Frame, loop_vitals, run_vitals
from homeostat.analysis.vitals_course import Course
from homeostat.analysis.vitals_indices import harris_index, oscillation_index
from homeostat.analysis.vitals_response import Recovery, Response, recovery, response
from homeostat.dynamics import (
    ARXModel,
    FirstOrderModel,
    Fit,
    IntegratorModel,
    Interval,
    Margins,
    PlantModel,
    Recording,
    SecondOrderModel,
    identify,
)

__all__ = [
    "ARXFit",
    "ARXModel",
    "Course",
    "Feasibility",
    "FirstOrderModel",
    "Fit",
    "Frame",
    "IntegratorModel",
    "Interval",
    "Margins",
    "Pairing",
    "PlantModel",
    "Recording",
    "Recovery",
    "Response",
    "SecondOrderModel",
    "Tuning",
    "feasibility",
    "harris_index",
    "identify",
    "identify_arx",
    "loop_vitals",
    "margins",
    "oscillation_index",
    "pair",
    "recovery",
    "relative_gains",
    "response",
    "run_vitals",
    "tune",
]
