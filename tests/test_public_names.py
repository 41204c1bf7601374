"""The public names: few, sorted, documented, and really there."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest

import homeostat

PACKAGES = ["homeostat", *(f"homeostat.{m.name}" for m in pkgutil.iter_modules(homeostat.__path__) if m.ispkg)]
NAMES = [(p, n) for p in PACKAGES for n in getattr(importlib.import_module(p), "__all__", [])]


@pytest.mark.parametrize("package", PACKAGES)
def test_names_are_sorted_and_unique(package):
    listed = importlib.import_module(package).__all__
    # The order ruff keeps: constants, classes, the rest.
    kind = {name: 0 if name.isupper() else 1 if name[0].isupper() else 2 for name in listed}
    assert list(listed) == sorted(set(listed), key=lambda name: (kind[name], name))


@pytest.mark.parametrize(("package", "name"), NAMES, ids=[f"{p}.{n}" for p, n in NAMES])
def test_every_name_exists_and_is_documented(package, name):
    found = getattr(importlib.import_module(package), name)
    if inspect.isclass(found) or callable(found):
        assert (inspect.getdoc(found) or "").strip()
        # A class that says nothing shows its base's words.
        assert not inspect.isclass(found) or found.__doc__


def test_the_front_page_names_what_a_user_needs():
    assert {"Homeostat", "Loop", "CoupledLoop", "HomeostatError", "HomeostatWarning"} <= set(homeostat.__all__)
    assert not [n for n in homeostat.__all__ if n.startswith("_") and n != "__version__"]


@pytest.mark.parametrize("method", [n for n in vars(homeostat.Homeostat) if not n.startswith("_")])
def test_every_public_method_of_the_controller_is_documented(method):
    assert inspect.getdoc(getattr(homeostat.Homeostat, method))
