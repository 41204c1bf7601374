"""Recording a list of jobs: one child process for each engine, side by side, with a progress bar."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from echo_reference.data.render import Job
from echo_reference.data.voices import Engine
from echo_reference.errors import DataError

# Pico reads memory it has not written: without a fixed threshold glibc hands it what earlier clips left there
# and a clip in ten differs from run to run (measured), with one it always gets zeros.
_SETTINGS = {"MALLOC_MMAP_THRESHOLD_": "131072", "OMP_NUM_THREADS": "1"}


def record(jobs: Sequence[Job], working: Path) -> list[NDArray[np.int16]]:
    """The clips of all jobs, in their order.

    Args:
        jobs: what to make, by one or several engines.
        working: an empty folder for the children's files, of no use afterwards.

    Raises:
        DataError: an engine failed; the message ends with its own.
    """
    engines = sorted({job.voice.engine for job in jobs})
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar, ThreadPoolExecutor(len(engines)) as pool:
        task = bar.add_task("synthesising speech", total=len(jobs))
        futures = {}
        for engine in engines:
            lines = [job.to_json() + "\n" for job in jobs if job.voice.engine == engine]
            (working / f"{engine}.jobs").write_text("".join(lines), encoding="utf-8")
            futures[engine] = pool.submit(_run, engine, working, lambda: bar.advance(task))
        clips = {engine: _cut(working / f"{engine}.pcm", futures[engine].result()) for engine in engines}
    return [next(clips[job.voice.engine]) for job in jobs]


def _run(engine: Engine, working: Path, made_one: Callable[[], None]) -> list[int]:
    """Start the child, count its clips as they come, and return their lengths."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    lengths = []
    with (working / f"{engine}.errors").open("w+", encoding="utf-8") as errors:
        with subprocess.Popen(  # noqa: S603 - our own module and a closed set of engine names
            [sys.executable, "-m", "echo_reference.data.render", engine, str(working)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | {"PYTHONPATH": path} | _SETTINGS,
        ) as child:
            for line in child.stdout or ():
                lengths.append(int(line))
                made_one()
        if child.returncode != 0:
            errors.seek(0)
            reason = (errors.read().strip().splitlines() or ["no message"])[-1]
            raise DataError(
                f"The engine {engine} must make every clip; got exit status {child.returncode} after "
                f"{len(lengths)} clips ({reason}). Reinstall its package."
            )
    return lengths


def _cut(path: Path, lengths: Sequence[int]) -> Iterator[NDArray[np.int16]]:
    samples = np.fromfile(path, dtype=np.int16)
    return iter(np.split(samples, np.cumsum(lengths)[:-1]))
