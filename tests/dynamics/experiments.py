"""Recordings of simulated plants under a knob that moves."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from homeostat.dynamics.model import PlantModel
from homeostat.dynamics.recording import Recording


def excited(model: PlantModel, *, every: int = 1, decisions: int = 150, noise: float = 0.0, seed: int = 0) -> Recording:
    """A knob at rest at 0 for ten decisions, then at random between -1 and 1, held for some decisions each."""
    rng = np.random.default_rng(seed)
    knob = np.repeat(rng.uniform(-1, 1, decisions // 5), 5)
    knob[:10] = 0.0
    pulse = model.pulse(every)
    reading = lfilter(pulse.numerator, pulse.denominator, knob) + noise * rng.standard_normal(len(knob))
    return Recording.of(every * np.arange(len(knob)), reading + getattr(model, "offset", 0.0), knob)
