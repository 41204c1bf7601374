"""Starts real processes for the tests of several ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_two(worker: Path, folder: Path) -> None:
    """Run `worker RANK FOLDER` for ranks 0 and 1 side by side; fails with what a failing one wrote."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(worker.parents[2])}
    workers = [
        subprocess.Popen(
            [sys.executable, str(worker), str(rank), str(folder)], env=environment, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    try:
        for process in workers:
            _, errors = process.communicate(timeout=180)
            assert process.returncode == 0, errors[-4000:]
    finally:
        for process in workers:
            process.kill()
            process.communicate()
