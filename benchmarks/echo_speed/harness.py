"""Times contenders in turn, and says how sure the ratio of two of them is."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

RESULTS = Path(__file__).parent.parent / "results"


class Ratio(NamedTuple):
    """A ratio of medians with the 95 % interval of a bootstrap over repetitions."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """As a table has it."""
        return f"{self.value:.2f} ({self.low:.2f} .. {self.high:.2f})"


def interleaved(contenders: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each contender's repetitions, taken in turn after a warm-up, so that the machine's load is shared.

    On one thread it is the process's own CPU time, which other processes do not count in; on more, time on the wall.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for repetition in range(repetitions + 1):
        for name, run in contenders.items():
            start = clock()
            run()
            if repetition:
                times[name].append(clock() - start)
    return times


def ratio(times: Sequence[float], reference: Sequence[float], draws: int = 2000) -> Ratio:
    """Median over median; repetitions are drawn in pairs, since what slowed one slowed the one beside it."""
    pairs = np.array([times, reference])
    chosen = np.random.default_rng(0).integers(pairs.shape[1], size=(draws, pairs.shape[1]))
    top, bottom = np.median(pairs[:, chosen], axis=2)
    low, high = np.quantile(top / bottom, [0.025, 0.975])
    value, beside = np.median(pairs, axis=1)
    return Ratio(float(value / beside), float(low), float(high))


def parser(description: str | None, name: str, repetitions: int) -> argparse.ArgumentParser:
    """What every script of this package can be told."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--repetitions", type=int, default=repetitions)
    made.add_argument("--output", type=Path, default=RESULTS / f"echo_speed_{name}.json")
    return made


def keep(output: Path, results: object, threads: int) -> None:
    """Write raw results with what they were measured on."""
    machine = {"machine": platform.machine(), "torch": torch.__version__, "threads": threads}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n", encoding="utf-8")


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows as a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
