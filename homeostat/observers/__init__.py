"""What is measured."""

from homeostat.observers.gradient import GradientNorm
from homeostat.observers.loss import GeneralizationGap, Loss, LossTrend
from homeostat.observers.observer import Observer
from homeostat.observers.update import UpdateRatio

__all__ = ["GeneralizationGap", "GradientNorm", "Loss", "LossTrend", "Observer", "UpdateRatio"]
