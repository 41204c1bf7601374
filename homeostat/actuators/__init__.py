"""What is moved."""

from homeostat.actuators.actuator import Actuator
from homeostat.actuators.dial import Dial, DialActuator
from homeostat.actuators.dropout import Dropout
from homeostat.actuators.gradient import ClipNorm
from homeostat.actuators.limit import LimitActuator
from homeostat.actuators.module import AttentionWindow, EmbeddingWidth, LossWeight, RotaryBase, RotationPenalty
from homeostat.actuators.optimizer import LearningRate
from homeostat.actuators.rotation import RotationRetraction
from homeostat.actuators.update import UpdateLimit

__all__ = [
    "Actuator",
    "AttentionWindow",
    "ClipNorm",
    "Dial",
    "DialActuator",
    "Dropout",
    "EmbeddingWidth",
    "LearningRate",
    "LimitActuator",
    "LossWeight",
    "RotaryBase",
    "RotationPenalty",
    "RotationRetraction",
    "UpdateLimit",
]
