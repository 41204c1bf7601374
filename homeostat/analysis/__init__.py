"""What can be learned of a loop from its records."""

from __future__ import annotations

from homeostat.analysis.vitals import Course, Frame, joined, loop_vitals, run_vitals
from homeostat.analysis.vitals_indices import harris_index, oscillation_index
from homeostat.analysis.vitals_response import Recovery, Response, recovery, response

__all__ = [
    "Course",
    "Frame",
    "Recovery",
    "Response",
    "harris_index",
    "joined",
    "loop_vitals",
    "oscillation_index",
    "recovery",
    "response",
    "run_vitals",
]
