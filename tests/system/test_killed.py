"""A process that is killed at random steps goes on as if nothing had happened, with every part of the library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from homeostat.actuators import Actuator
from homeostat.guards.detector import Detector
from homeostat.laws import Law
from homeostat.observers import Observer
from tests.contracts.test_observers import concrete
from tests.harness import same
from tests.system.killed import FAULTS, SEEDS, controller

WORKER = Path(__file__).with_name("killed.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each run ended with; one start of the process serves every test."""
    folder = tmp_path_factory.mktemp("killed")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(WORKER.parents[2])}
    command = [sys.executable, str(WORKER), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=230, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def end(folder: Path, run: str) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / run / "end.pt", weights_only=True)
    return found


def records(run: dict[str, Any], first: int) -> dict[str, list[str]]:
    """What each loop decided from a tick on, and why, to the last bit."""
    return {name: [text for tick, text in found if tick >= first] for name, found in run["records"].items()}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("how", FAULTS)
def test_killed_at_random_steps_and_resumed_every_part_goes_on_bit_equal(folder: Path, how: str, seed: int) -> None:
    whole, resumed = end(folder, how), end(folder, f"{how} {seed}")
    first, _ = resumed["begun"]
    assert first > 8
    assert records(resumed, 0) == records(whole, first)
    assert all(records(resumed, 0).values())
    assert resumed["knobs"] == whole["knobs"]
    assert same(resumed["weights"], whole["weights"])
    assert resumed["homeostat"] == whole["homeostat"]


@pytest.mark.parametrize("seed", SEEDS)
def test_from_a_checkpoint_losses_and_answers_are_the_same_too(folder: Path, seed: int) -> None:
    whole, resumed = end(folder, "checkpoint"), end(folder, f"checkpoint {seed}")
    assert resumed["losses"] == whole["losses"]
    assert resumed["answering"] == whole["answering"]
    assert resumed["found"] == whole["found"][-len(resumed["found"]) :]


@pytest.mark.parametrize("seed", SEEDS)
def test_each_answer_was_given_before_the_kill_and_after_it(folder: Path, seed: int) -> None:
    def answers(found: list[Any]) -> set[tuple[str, bool]]:
        return {(answer, replayed) for _, _, answer, _, replayed in found if answer != "alarm"}

    every = {("skip", False), ("cut", False), ("reset", False), ("rollback", True), ("rollback", False)}
    whole, resumed = end(folder, "checkpoint")["found"], end(folder, f"checkpoint {seed}")["found"]
    assert answers(resumed) == answers(whole[: -len(resumed)]) == every
    assert answers(end(folder, f"snapshot {seed}")["found"]) == every - {("rollback", False)}


def test_the_run_has_every_observer_law_actuator_and_detector(tmp_path: Path) -> None:
    recipe = controller(tmp_path).recipe
    loops = [loop.coupled() for loop in recipe.loops]
    found = {
        Observer: {type(part) for loop in loops for part in loop.observers},
        Law: {type(loop.law) for loop in loops},
        Actuator: {type(part) for loop in loops for part in loop.actuators},
        Detector: {type(guard.detector) for guard in recipe.guards},
    }
    for role, parts in found.items():
        assert {c.__name__ for c in concrete(role)} - {c.__name__ for c in parts} == set()
