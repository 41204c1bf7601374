"""Simulated plants, on which a law can be tested in milliseconds."""

from __future__ import annotations

from homeostat.simulation.first_order import FirstOrder
from homeostat.simulation.plant import AnyPlant, SimulatedPlant
from homeostat.simulation.run import SimulatedRun, simulate
from homeostat.simulation.two_by_two import TwoByTwo

__all__ = ["AnyPlant", "FirstOrder", "SimulatedPlant", "SimulatedRun", "TwoByTwo", "simulate"]
