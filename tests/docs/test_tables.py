"""The tables of the documentation say what the code says."""

from __future__ import annotations

import inspect
import re
from types import ModuleType

import pytest

from homeostat import Part, actuators, laws, observers
from homeostat.actuators import Actuator
from homeostat.guards import Guard, Ladder, SnapshotPolicy, detectors
from homeostat.recipes import load, names
from homeostat.trace import LIMITS
from tests.docs.pages import ROOT

# Every actuator has these; the page says so once.
COMMON = {"scale", "slew", "quantum"}
ROLES = [("Observers", observers), ("Laws", laws), ("Actuators", actuators), ("Detectors", detectors)]


def section(page: str, title: str) -> str:
    """The text under a heading of the second level."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no section {title!r}"
    return found[1]


def rows(text: str) -> dict[str, list[str]]:
    """The rows of the tables in `text` that begin with a name in code, by that name."""
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:3] == "| `"]
    return {row[0].strip("| `"): [cell.strip("| ") for cell in row[1:]] for row in cells}


def concrete(module: ModuleType) -> dict[str, type[Part]]:
    exported = {name: getattr(module, name) for name in module.__all__}
    return {
        name: found
        for name, found in exported.items()
        if inspect.isclass(found) and issubclass(found, Part) and not inspect.isabstract(found)
    }


def fields(part: type[Part]) -> str:
    """A part's fields as the tables show them, with the default where there is one."""
    shown = []
    for name, field in part.model_fields.items():
        if not (issubclass(part, Actuator) and name in COMMON):
            shown.append(f"`{name}`" if field.is_required() else f"`{name}={_yaml(field.default)}`")
    return " ".join(shown) or "none"


def _yaml(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "null" if value is None else str(value).lower()


@pytest.mark.parametrize(("title", "module"), ROLES, ids=[title for title, _ in ROLES])
def test_every_part_is_listed_with_its_fields(title, module):
    listed = rows(section("parts.md", title))
    assert {name: row[-1] for name, row in listed.items()} == {n: fields(p) for n, p in concrete(module).items()}


@pytest.mark.parametrize("part", [Guard, Ladder, SnapshotPolicy])
def test_every_field_of_what_answers_faults_is_listed_with_its_default(part):
    (table,) = re.findall(
        rf"^\| field of `{part.__name__}` \|.*?\n\n", section("parts.md", "Guards"), re.MULTILINE | re.DOTALL
    )
    listed = {name: row[0] for name, row in rows(table).items() if name != "name"}
    shown = {
        name: "-" if field.is_required() else f"`{_yaml(field.default)}`" for name, field in part.model_fields.items()
    }
    # A name is made of others where none is given.
    shown.pop("name", None)
    assert listed == shown


def test_observers_are_listed_with_their_phase():
    listed = {name: row[2] for name, row in rows(section("parts.md", "Observers")).items()}
    assert listed == {name: part.phase for name, part in concrete(observers).items()}


def test_laws_that_need_a_setpoint_are_marked():
    listed = {name: row[1] for name, row in rows(section("parts.md", "Laws")).items()}
    needing = {name for name, mark in listed.items() if mark == "needed"}
    assert needing == {
        "AIMD",
        "AutoTune",
        "CUSUM",
        "Cascade",
        "DeadBand",
        "DualAveraging",
        "LogIntegrator",
        "MatrixPI",
        "PID",
        "SelfTuning",
        "SignIntegrator",
        "StateFeedback",
    }
    assert laws.PID(gain=1.0).needs_setpoint
    assert laws.MatrixPI(gain=((1.0,),), integral=((1.0,),), tracking_time=1.0).needs_setpoint


def test_actuators_are_listed_with_their_scale():
    listed = {name: row[2] for name, row in rows(section("parts.md", "Actuators")).items()}
    assert listed == {name: part.model_fields["scale"].default for name, part in concrete(actuators).items()}


def test_every_limit_of_the_trace_is_explained():
    text = section("attach.md", "Reading the trace")
    first_cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    assert tuple(re.findall(r"`([\w ]+)`", " ".join(first_cells))) == LIMITS


@pytest.mark.parametrize("name", names())
def test_every_loop_of_a_shipped_recipe_is_listed(name):
    """Observer, laws and knob of each loop are named in its row."""
    listed = rows(section("recipes.md", f"The recipe `{name}`"))
    loops = {loop.coupled().title: loop.coupled() for loop in load(name).loops}
    assert list(listed) == list(loops)
    for title, loop in loops.items():
        members = loop.law.laws if isinstance(loop.law, laws.Chain) else (loop.law,)
        assert listed[title][:3] == [
            " ".join(f"`{type(part).__name__}`" for part in parts)
            for parts in (loop.observers, members, loop.actuators)
        ]
