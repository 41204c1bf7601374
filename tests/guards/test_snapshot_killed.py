"""Runs that are killed at any moment, also while a snapshot is being written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    worker = Path(__file__).with_name("snapshot_worker.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(worker.parents[2])}
    command = [sys.executable, str(worker), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    killed, writing = map(int, done.stdout.split())
    assert killed >= 4
    assert writing >= 1
