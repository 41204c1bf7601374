"""A rank is killed, `torchrun` starts the job anew, and it goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.elastic import KILLED_AT, STEPS

WORKER = Path(__file__).with_name("elastic.py")


COUNTS = (2, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the ranks of every job left; one start of the launcher serves them all."""
    folder = tmp_path_factory.mktemp("elastic")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(WORKER.parents[2])}
    # The launcher's own store still holds the addresses of the ranks' first life, where gloo looks for the others.
    environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    done = subprocess.run(
        [sys.executable, str(WORKER), str(folder), *map(str, COUNTS)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=230,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-8000:]
    return folder


@pytest.mark.parametrize("count", COUNTS)
def test_a_job_with_a_killed_rank_goes_on_from_its_checkpoint_bit_for_bit(folder: Path, count: int) -> None:
    ranks = [json.loads((folder / str(count) / f"{rank}.json").read_text()) for rank in range(count)]
    for rank in ranks:
        restarted, whole = rank["restarted"], rank["whole"]
        assert rank["life"] == 1
        # It did not begin anew.
        assert (restarted.pop("first"), whole.pop("first")) == (KILLED_AT, 0)
        assert restarted == whole
        assert whole["state"]["tick"] == STEPS
        assert whole["state"]["loops"]["dial"]["delivered"] != [1.0]
        assert whole["weights"] == ranks[0]["whole"]["weights"]
        assert whole["state"]["loops"] == ranks[0]["whole"]["state"]["loops"]
