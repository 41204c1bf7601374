"""Simulated plants, on which a law can be tested in milliseconds."""

from __future__ import annotations

from homeostat.simulation.delayed import DelayedPlant
from homeostat.simulation.disturbance import Disturbance, Disturbed
from homeostat.simulation.dropout_gap import DropoutGap
from homeostat.simulation.edge import EdgeOfStability
from homeostat.simulation.first_order import FirstOrder, UnstableFirstOrder
from homeostat.simulation.integrator import Integrator
from homeostat.simulation.load import LoadStep
from homeostat.simulation.measurement import Drift, DropOuts, NaNBursts, Noise, Outliers
from homeostat.simulation.optimum import Optimum
from homeostat.simulation.plant import AnyPlant, SimulatedPlant
from homeostat.simulation.quadratic import NoisyQuadratic, QuadraticAdam, QuadraticSGD
from homeostat.simulation.run import SimulatedRun, simulate
from homeostat.simulation.second_order import SecondOrder
from homeostat.simulation.two_by_two import TwoByTwo

__all__ = [
    "AnyPlant",
    "DelayedPlant",
    "Disturbance",
    "Disturbed",
    "Drift",
    "DropOuts",
    "DropoutGap",
    "EdgeOfStability",
    "FirstOrder",
    "Integrator",
    "LoadStep",
    "NaNBursts",
    "Noise",
    "NoisyQuadratic",
    "Optimum",
    "Outliers",
    "QuadraticAdam",
    "QuadraticSGD",
    "SecondOrder",
    "SimulatedPlant",
    "SimulatedRun",
    "TwoByTwo",
    "UnstableFirstOrder",
    "simulate",
]
