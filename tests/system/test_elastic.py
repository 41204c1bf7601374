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


@pytest.mark.parametrize("count", [2, 4])
def test_a_job_with_a_killed_rank_goes_on_from_its_checkpoint_bit_for_bit(tmp_path: Path, count: int) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count), "--max-restarts", "1"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "--monitor-interval", "0.1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(WORKER.parents[2])}
    # The launcher's own store still holds the addresses of the ranks' first life, where gloo looks for the others.
    environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    done = subprocess.run(
        [*command, str(WORKER), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=230,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-8000:]
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(count)]
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
