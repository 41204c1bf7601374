"""The tables of simulated plants and disturbances say what the code says."""

from __future__ import annotations

import pytest

from homeostat import Part, simulation
from homeostat.simulation import AnyPlant, Disturbance
from tests.docs.test_tables import concrete, fields, rows, section


@pytest.mark.parametrize(("title", "role"), [("Plants", AnyPlant), ("Disturbances", Disturbance)])
def test_every_part_is_listed_with_its_fields(title: str, role: type[Part]) -> None:
    listed = {name: row[-1] for name, row in rows(section("simulation.md", title)).items()}
    assert listed == {name: fields(part) for name, part in concrete(simulation).items() if issubclass(part, role)}


def test_disturbances_are_listed_with_what_they_fall_on() -> None:
    listed = {name: row[1] for name, row in rows(section("simulation.md", "Disturbances")).items()}
    parts = concrete(simulation).items()
    assert listed == {name: part.on for name, part in parts if issubclass(part, Disturbance)}
