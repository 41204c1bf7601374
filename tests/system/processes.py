"""Starts real processes for the tests of several ranks."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch._dynamo  # noqa: F401 - DDP imports it, which takes seconds in every rank
from torch import distributed as dist


def run_ranks(worker: Path, folder: Path, ranks: int) -> None:
    """Run `worker RANKS FOLDER`, which calls `serve`; fails with what a failing rank wrote."""
    command = [sys.executable, str(worker), str(ranks), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(worker.parents[2])}
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


def serve(main: Callable[[int, Path], None]) -> None:
    """Be a worker: split into as many ranks as the command line says and run `main(rank, folder)` in each.

    A copy of this process has imported what takes seconds to import, so that a rank more costs next to nothing.
    """
    ranks, folder = int(sys.argv[1]), Path(sys.argv[2])
    children = []
    for rank in range(ranks):
        child = os.fork()
        if child == 0:
            os._exit(_run(main, rank, ranks, folder))
        children.append(child)
    results = [os.waitpid(child, 0)[1] for child in children]
    sys.exit(any(results))


def _run(main: Callable[[int, Path], None], rank: int, ranks: int, folder: Path) -> int:
    # A file serves as the meeting point: no port can be taken. A rank that is left alone gives up.
    meeting = (folder / "meeting").as_uri()
    try:
        dist.init_process_group("gloo", meeting, timedelta(seconds=60), world_size=ranks, rank=rank)
        main(rank, folder)
        dist.destroy_process_group()
    # Whatever ends a rank ends it here: it must not go on as its parent.
    except BaseException:  # noqa: BLE001
        print(f"rank {rank}:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
        return 1
    return 0
