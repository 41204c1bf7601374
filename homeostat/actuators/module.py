"""Knobs that a model offers as dials under customary names."""

from __future__ import annotations

from homeostat.actuators.actuator import Scale
from homeostat.actuators.dial import DialActuator


class RotaryBase(DialActuator):
    """Turns the base of rotary position angles."""

    dials: str = "*rotary_base"
    scale: Scale = "log"

    @property
    def floor(self) -> float:
        """A base of 1 gives every plane the same frequency."""
        return 1.0


class AttentionWindow(DialActuator):
    """Turns the reach of local attention, in positions to each side."""

    dials: str = "*attention_window"

    @property
    def floor(self) -> float:
        """A window of 0 lets a position see itself."""
        return 0.0


class RotationPenalty(DialActuator):
    """Turns the weight of the regulariser that keeps rotations orthogonal."""

    dials: str = "*rotation_penalty"
    scale: Scale = "log"

    @property
    def floor(self) -> float:
        """A negative penalty would drive the rotation away from orthogonality."""
        return 0.0


class EmbeddingWidth(DialActuator):
    """Turns the number of active embedding dimensions."""

    dials: str = "*embedding_width"

    @property
    def floor(self) -> float:
        """One dimension is the least an embedding can have."""
        return 1.0


class LossWeight(DialActuator):
    """Turns the weight of one term of the loss; the model multiplies the term by the dial."""

    scale: Scale = "log"

    @property
    def floor(self) -> float:
        """A negative weight would reward the loss."""
        return 0.0
