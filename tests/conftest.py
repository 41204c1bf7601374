"""Shared by every test: one thread, derandomised properties, the folder of real recordings."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

# The suite runs in parallel processes; a thread pool in each would only fight over the cores.
torch.set_num_threads(1)

settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recorded speech; the tests that need it skip where it is absent."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("HOMEOSTAT_SHARED_DATA", default))
    if not (folder / "fsdd" / "train.jsonl").is_file():
        pytest.skip(
            f"no real recordings at {folder}; set HOMEOSTAT_SHARED_DATA to a folder that holds fsdd/train.jsonl"
        )
    return folder
