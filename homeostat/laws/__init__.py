"""Laws decide where knobs go, in pure floats."""

from __future__ import annotations

from homeostat.laws.aimd import AIMD
from homeostat.laws.auto_tune import AutoTune
from homeostat.laws.cascade import Cascade
from homeostat.laws.chain import Chain
from homeostat.laws.cusum import CUSUM
from homeostat.laws.dead_band import DeadBand
from homeostat.laws.dual_averaging import DualAveraging
from homeostat.laws.extremum_seeking import ExtremumSeeking
from homeostat.laws.feed_forward import FeedForward
from homeostat.laws.filters import EMA, Affine, Median, SlewLimit
from homeostat.laws.gain_schedule import GainSchedule
from homeostat.laws.hold import Hold
from homeostat.laws.kalman import Kalman
from homeostat.laws.law import Decision, Input, Law
from homeostat.laws.linear_model import LinearModel
from homeostat.laws.log_integrator import LogIntegrator
from homeostat.laws.loss_ratchet import LossRatchet
from homeostat.laws.matrix_pi import MatrixPI
from homeostat.laws.pid import PID
from homeostat.laws.plateau import Plateau
from homeostat.laws.relay_test import RelayTest
from homeostat.laws.schedule import Schedule
from homeostat.laws.select import Select
from homeostat.laws.self_tuning import SelfTuning
from homeostat.laws.sign_integrator import SignIntegrator
from homeostat.laws.smith_predictor import SmithPredictor
from homeostat.laws.state_feedback import StateFeedback
from homeostat.laws.step_test import StepTest
from homeostat.laws.threshold import Threshold
from homeostat.laws.ultrastable import Ultrastable

__all__ = [
    "AIMD",
    "CUSUM",
    "EMA",
    "PID",
    "Affine",
    "AutoTune",
    "Cascade",
    "Chain",
    "DeadBand",
    "Decision",
    "DualAveraging",
    "ExtremumSeeking",
    "FeedForward",
    "GainSchedule",
    "Hold",
    "Input",
    "Kalman",
    "Law",
    "LinearModel",
    "LogIntegrator",
    "LossRatchet",
    "MatrixPI",
    "Median",
    "Plateau",
    "RelayTest",
    "Schedule",
    "Select",
    "SelfTuning",
    "SignIntegrator",
    "SlewLimit",
    "SmithPredictor",
    "StateFeedback",
    "StepTest",
    "Threshold",
    "Ultrastable",
]
