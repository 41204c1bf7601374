"""The frozen base of all parts, and how a recipe finds a class."""

from __future__ import annotations

import math
import sys
import types
from pathlib import Path

import pytest
from pydantic import SerializeAsAny, ValidationError

from homeostat.laws import Hold, Law, Threshold
from homeostat.part import Part, find


class Shelf(Part):
    """A test's own part, which holds others."""

    items: tuple[SerializeAsAny[Part], ...] = ()
    width: float = 1.0


class Bookend(Part):
    """A test's own part."""

    weight: float = 2.0


def test_serialises_with_its_kind_and_comes_back_from_any_base() -> None:
    shelf = Shelf(items=(Bookend(weight=3.0), Hold(), Shelf()))
    data = shelf.model_dump(mode="json")
    assert data["kind"] == "Shelf"
    assert [item["kind"] for item in data["items"]] == ["Bookend", "Hold", "Shelf"]
    assert Part.model_validate(data) == shelf
    assert Shelf.model_validate_json(shelf.model_dump_json()) == shelf


def test_a_field_of_a_role_refuses_a_part_of_another() -> None:
    with pytest.raises(ValidationError, match="kind must name a Law; got 'Bookend'"):
        Law.model_validate({"kind": "Bookend"})


def test_an_unknown_kind_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match=r"got 'Thresold'\. Known here: .*Threshold"):
        Law.model_validate({"kind": "Thresold"})


def test_a_role_without_a_kind_is_refused() -> None:
    with pytest.raises(ValidationError, match="must name its kind"):
        Law.model_validate({"low": 1.0})


def test_a_concrete_class_needs_no_kind() -> None:
    assert Bookend.model_validate({"weight": 4}) == Bookend(weight=4.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "heavy", None])
def test_refuses_fields_that_are_no_finite_numbers(value: object) -> None:
    with pytest.raises(ValidationError):
        Bookend.model_validate({"weight": value})


def test_refuses_unknown_fields_and_changes() -> None:
    with pytest.raises(ValidationError, match="wieght"):
        Bookend.model_validate({"wieght": 1.0})
    part = Bookend()
    with pytest.raises(ValidationError, match="frozen"):
        part.weight = 3.0
    assert part.weight == 2.0


def test_equal_configurations_are_equal_and_hash_alike() -> None:
    assert Bookend(weight=1) == Bookend(weight=1.0)
    assert len({Bookend(), Bookend(), Bookend(weight=1.0)}) == 2


def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(TypeError, match=r"class name must be unique; got a second 'Bookend'"):
        type("Bookend", (Part,), {"__module__": "elsewhere", "__doc__": "Another."})
    assert Part.kinds["Bookend"] is Bookend


def test_a_class_defined_again_replaces_the_old_one(request: pytest.FixtureRequest) -> None:
    names = {"__module__": "notebook", "__qualname__": "Cell"}
    request.addfinalizer(lambda: Part.kinds.pop("Cell"))
    type("Cell", (Part,), dict(names))
    second = type("Cell", (Part,), dict(names))
    assert find("Cell", Part) is second


def test_finds_a_class_in_a_module_that_the_recipe_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source = "from homeostat.part import Part\nclass Lamp(Part):\n    watts: float = 5.0\n"
    (tmp_path / "furniture.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    request.addfinalizer(lambda: (Part.kinds.pop("Lamp"), sys.modules.pop("furniture")))
    lamp = Part.model_validate({"kind": "furniture:Lamp", "watts": 7})
    assert lamp.model_dump() == {"kind": "Lamp", "watts": 7.0}
    assert isinstance(sys.modules["furniture"], types.ModuleType)


def test_find_returns_the_class() -> None:
    assert find("Threshold", Law) is Threshold
