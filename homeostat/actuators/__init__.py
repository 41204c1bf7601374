"""What is moved."""

from homeostat.actuators.actuator import Actuator
from homeostat.actuators.dial import Dial
from homeostat.actuators.gradient import ClipNorm
from homeostat.actuators.optimizer import LearningRate
from homeostat.actuators.update import UpdateLimit

__all__ = ["Actuator", "ClipNorm", "Dial", "LearningRate", "UpdateLimit"]
