"""Simulated plants, on which a law can be tested in milliseconds."""

from __future__ import annotations

from homeostat.simulation.disturbance import Disturbance, Disturbed
from homeostat.simulation.first_order import FirstOrder
from homeostat.simulation.load import LoadStep
from homeostat.simulation.measurement import Drift, DropOuts, NaNBursts, Noise, Outliers
from homeostat.simulation.plant import AnyPlant, SimulatedPlant
from homeostat.simulation.run import SimulatedRun, simulate
from homeostat.simulation.two_by_two import TwoByTwo

__all__ = [
    "AnyPlant",
    "Disturbance",
    "Disturbed",
    "Drift",
    "DropOuts",
    "FirstOrder",
    "LoadStep",
    "NaNBursts",
    "Noise",
    "Outliers",
    "SimulatedPlant",
    "SimulatedRun",
    "TwoByTwo",
    "simulate",
]
