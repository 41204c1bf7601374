"""Simulated plants, on which a law can be tested in milliseconds."""

from __future__ import annotations

from homeostat.simulation.first_order import FirstOrder
from homeostat.simulation.plant import SimulatedPlant
from homeostat.simulation.run import SimulatedRun, simulate

__all__ = ["FirstOrder", "SimulatedPlant", "SimulatedRun", "simulate"]
