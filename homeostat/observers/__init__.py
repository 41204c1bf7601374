"""What is measured."""

from homeostat.observers.attention import AttentionReach
from homeostat.observers.dead_units import DeadUnits
from homeostat.observers.gradient import GradientNorm
from homeostat.observers.loss import GeneralizationGap, Loss, LossTrend
from homeostat.observers.loss_peak import LossPeak
from homeostat.observers.observer import Observer
from homeostat.observers.orthogonality import OrthogonalityDrift
from homeostat.observers.parameter import ParameterNorm
from homeostat.observers.running_variance import RunningVariance
from homeostat.observers.spectrum import EffectiveRank
from homeostat.observers.update import ProposedUpdateRatio, UpdateRatio

__all__ = [
    "AttentionReach",
    "DeadUnits",
    "EffectiveRank",
    "GeneralizationGap",
    "GradientNorm",
    "Loss",
    "LossPeak",
    "LossTrend",
    "Observer",
    "OrthogonalityDrift",
    "ParameterNorm",
    "ProposedUpdateRatio",
    "RunningVariance",
    "UpdateRatio",
]
