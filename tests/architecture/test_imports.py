"""Imports point one way, and what is optional is only imported where it is used."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("homeostat", "echo_reference")
MOST_LINES = 350

# Each level may import the ones above it in this list; within a level, only what is said to below.
LEVELS = (
    ("homeostat.errors", "homeostat.version", "homeostat.closing", "homeostat.landing"),
    (
        "homeostat.part",
        "homeostat.state",
        "homeostat.pace",
        "homeostat.profile",
        "homeostat.trace",
        "homeostat.metrics",
        "homeostat.nn",
    ),
    # What laws and analysis share.
    ("homeostat.dynamics",),
    ("homeostat.plant",),
    (
        "homeostat.agreement",
        "homeostat.norms",
        "homeostat.replicas",
        "homeostat.riding",
        "homeostat.steered",
        "homeostat.step",
        "homeostat.uneven",
        "homeostat.watch",
    ),
    ("homeostat.observers.observer", "homeostat.laws.law", "homeostat.actuators.actuator"),
    ("homeostat.observers", "homeostat.laws", "homeostat.actuators"),
    ("homeostat.analysis",),
    ("homeostat.sensor",),
    ("homeostat.loop", "homeostat.sensing", "homeostat.guards", "homeostat.damping", "homeostat.bounds"),
    ("homeostat.runner", "homeostat.transient", "homeostat.answering", "homeostat.monitoring"),
    ("homeostat.assembly", "homeostat.guarding", "homeostat.agenda"),
    ("homeostat.hearing", "homeostat.resuming"),
    ("homeostat.engine",),
    # `Homeostat.from_recipe` reads recipes, so they come before the controller.
    ("homeostat.recipes",),
    ("homeostat.controller",),
    ("homeostat",),
    ("homeostat.sinks", "homeostat.simulation", "homeostat.integrations"),
    ("homeostat.report",),
    ("homeostat.__main__",),
    ("echo_reference",),
)
ROLES = {"observers": "observer", "laws": "law", "actuators": "actuator"}


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(name: str, nested: bool = True) -> Iterator[tuple[str, str]]:
    """Yield (module, name taken from it or "") for every import; submodules are resolved to modules."""
    tree = ast.parse(MODULES[name].read_text())
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole, "") if whole in MODULES else (node.module or "", alias.name)


def ours(name: str) -> list[str]:
    return [module for module, _ in imports(name) if module.split(".")[0] in PACKAGES]


def level(name: str) -> int:
    places = {member: place for place, members in enumerate(LEVELS) for member in members}
    while name not in places:
        assert "." in name, f"{name} has no level: give it one in LEVELS"
        name = name.rpartition(".")[0]
    return places[name]


@pytest.mark.parametrize("name", MODULES)
def test_every_import_points_up_the_levels(name: str) -> None:
    wrong = [module for module in ours(name) if level(module) > level(name)]
    assert wrong == []


def test_every_module_of_homeostat_has_a_level_of_its_own_choice() -> None:
    top = {".".join(name.split(".")[:2]) for name in MODULES if name.startswith("homeostat.")}
    listed = {".".join(member.split(".")[:2]) for members in LEVELS for member in members}
    assert top - listed == set()


def test_there_is_no_import_cycle() -> None:
    graph = {name: {module for module in ours(name) if module != name} for name in MODULES}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("folder", ROLES)
def test_a_part_knows_its_own_role_and_no_other(folder: str) -> None:
    others = [f"homeostat.{other}" for other in ROLES if other != folder]
    for name in MODULES:
        if name.startswith(f"homeostat.{folder}"):
            wrong = [module for module in ours(name) if module.startswith(tuple(others))]
            assert wrong == [], name


def test_laws_know_nothing_of_the_plant_nor_of_torch() -> None:
    for name in MODULES:
        if name.startswith("homeostat.laws"):
            taken = {module.split(".")[0] for module, _ in imports(name)} | set(ours(name))
            assert not taken & {"torch", "homeostat.plant", "homeostat.nn", "homeostat.metrics"}, name


def test_echo_uses_public_names_only() -> None:
    for name in MODULES:
        if name.startswith("echo_reference"):
            private = [
                (module, taken)
                for module, taken in imports(name)
                if module.split(".")[0] == "homeostat" and any(p.startswith("_") for p in (*module.split("."), taken))
            ]
            assert private == [], name


@pytest.mark.parametrize("name", MODULES)
def test_a_file_holds_one_idea(name: str) -> None:
    assert len(MODULES[name].read_text().splitlines()) <= MOST_LINES


CORE_ONLY = """
import sys, time
from importlib.machinery import PathFinder

class WithoutOptional(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in {blocked!r} else super().find_spec(name, path, target)

sys.meta_path = [WithoutOptional if finder is PathFinder else finder for finder in sys.meta_path]
import torch, numpy, scipy, pydantic, yaml
start = time.process_time()
import homeostat, homeostat.sinks, homeostat.report, homeostat.__main__
unwanted = sorted({{"echo_reference", "hypothesis", "pytest", "matplotlib", "pandas"}} & set(sys.modules))
assert not unwanted, unwanted
assert "torch._dynamo" not in sys.modules, "the compiler takes seconds to import"
print(time.process_time() - start)
"""
OPTIONAL = (
    "plotly", "tensorboard", "transformers", "soundfile", "soxr", "jiwer", "whisper_normalizer", "nanotts",
    "pydantic_settings", "rich", "espeakng_loader", "datasets", "sklearn",
)  # fmt: skip


def test_the_core_needs_no_optional_package_and_is_imported_fast() -> None:
    script = CORE_ONLY.format(blocked=set(OPTIONAL))
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    # Beyond torch: building the parts' schemas takes a few tenths of a second of processor time; a heavy import would
    # add seconds.
    assert float(result.stdout) < 2.0


MAKERS = {"arange", "as_tensor", "empty", "eye", "full", "ones", "rand", "randint", "randperm", "tensor", "zeros"}


def test_every_tensor_is_made_on_a_device_that_is_named():
    # torch.set_default_device would have others elsewhere than what they meet.
    unnamed = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in sorted((ROOT / "homeostat").rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) in {f"torch.{maker}" for maker in MAKERS}
        and "device" not in {keyword.arg for keyword in call.keywords}
    ]
    assert not unnamed
