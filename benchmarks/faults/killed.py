"""A run whose process is killed, and another process that goes on with it."""

from __future__ import annotations

import json
import multiprocessing
import signal
import tempfile
from pathlib import Path

from benchmarks.faults.case import Case
from benchmarks.faults.run import Result, run

_RESULT = "result.json"


def run_killed(case: Case, method: str) -> Result:
    """Train in a process that gets SIGKILL at `case.start`, then in a second one, which has only what is on disk.

    Raises:
        RuntimeError: the first process was not killed, or the second did not end well.
    """
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name)
        first, second = (_process(case, method, folder, again=again) for again in (False, True))
        if first != -signal.SIGKILL or second != 0:
            msg = f"A killed run must end with SIGKILL and then with 0; got {first} and {second}. Run the case alone."
            raise RuntimeError(msg)
        found = Result(*json.loads((folder / _RESULT).read_text(encoding="utf-8")))
        return found._replace(case=case, iterations=case.start + found.iterations)


def _process(case: Case, method: str, folder: Path, *, again: bool) -> int | None:
    process = multiprocessing.get_context("spawn").Process(target=_live, args=(case, method, folder, again))
    process.start()
    process.join()
    return process.exitcode


def _live(case: Case, method: str, folder: Path, again: bool) -> None:
    result = run(case, method, folder, again=again)
    (folder / _RESULT).write_text(json.dumps(result), encoding="utf-8")
