"""A learning-dynamics controller for PyTorch: observers, control laws and actuators for any training loop."""

from homeostat.analysis.tuning import tune
from homeostat.controller import Homeostat
from homeostat.errors import (
    AnalysisError,
    AttachError,
    DivergenceError,
    GuardAbort,
    HomeostatError,
    HomeostatWarning,
    MissingExtraError,
    RecipeError,
    StateError,
)
from homeostat.loop import CoupledLoop, Loop
from homeostat.pace import Rest
from homeostat.part import Part
from homeostat.profile import Profile
from homeostat.trace import Record, Sink, Trace
from homeostat.version import __version__

__all__ = [
    "AnalysisError",
    "AttachError",
    "CoupledLoop",
    "DivergenceError",
    "GuardAbort",
    "Homeostat",
    "HomeostatError",
    "HomeostatWarning",
    "Loop",
    "MissingExtraError",
    "Part",
    "Profile",
    "RecipeError",
    "Record",
    "Rest",
    "Sink",
    "StateError",
    "Trace",
    "__version__",
    "tune",
]
