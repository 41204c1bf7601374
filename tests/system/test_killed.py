"""A process that is killed at a random step goes on from its last checkpoint as if nothing had happened."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from homeostat import HomeostatWarning
from homeostat.actuators import Actuator
from homeostat.guards.detector import Detector
from homeostat.observers import Observer
from tests.contracts.test_observers import concrete
from tests.harness import same
from tests.system.killed import STEPS, Whole

WORKER = "tests.system.killed"


@pytest.fixture
def quiet():
    with warnings.catch_warnings():
        # Laws meet a plant they were not made for: some stand at a limit.
        warnings.simplefilter("ignore", HomeostatWarning)
        yield


@pytest.mark.usefixtures("quiet")
def test_killed_at_a_random_step_and_resumed_every_part_goes_on_bit_equal(tmp_path: Path) -> None:
    last = random.Random(17).randint(3, STEPS - 4)
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", WORKER, str(tmp_path)], cwd=root, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == last:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run ended before it was killed"

    resumed, whole = Whole(seed=99), Whole()
    second = resumed.begin()
    resumed.resume(torch.load(tmp_path / "state.pt", weights_only=True))
    assert last <= resumed.steps < STEPS
    resumed.run(STEPS - resumed.steps)
    first = whole.begin()
    whole.run(STEPS)
    assert resumed.losses == whole.losses
    assert second.knobs == first.knobs
    assert same(resumed.state(), whole.state())
    assert second.state_dict() == first.state_dict()


def test_the_run_has_every_observer_actuator_and_detector() -> None:
    recipe = Whole().begin().recipe
    loops = [loop.coupled() for loop in recipe.loops]
    found = {
        Observer: {type(part) for loop in loops for part in loop.observers},
        Actuator: {type(part) for loop in loops for part in loop.actuators},
        Detector: {type(guard.detector) for guard in recipe.guards},
    }
    for role, parts in found.items():
        assert {c.__name__ for c in concrete(role)} - {c.__name__ for c in parts} == set()
