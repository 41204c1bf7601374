"""Laws decide where knobs go, in pure floats."""

from __future__ import annotations

from homeostat.laws.chain import Chain
from homeostat.laws.dead_band import DeadBand
from homeostat.laws.filters import EMA, Affine, Median, SlewLimit
from homeostat.laws.hold import Hold
from homeostat.laws.law import Decision, Input, Law
from homeostat.laws.linear_model import LinearModel
from homeostat.laws.loss_ratchet import LossRatchet
from homeostat.laws.matrix_pi import MatrixPI
from homeostat.laws.pid import PID
from homeostat.laws.schedule import Schedule
from homeostat.laws.state_feedback import StateFeedback
from homeostat.laws.threshold import Threshold

__all__ = [
    "EMA",
    "PID",
    "Affine",
    "Chain",
    "DeadBand",
    "Decision",
    "Hold",
    "Input",
    "Law",
    "LinearModel",
    "LossRatchet",
    "MatrixPI",
    "Median",
    "Schedule",
    "SlewLimit",
    "StateFeedback",
    "Threshold",
]
