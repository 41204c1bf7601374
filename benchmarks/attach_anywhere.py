"""Whether `steady` helps loops it was not made for: from a good learning rate, and from 100 times off either way.

    python benchmarks/attach_anywhere.py [--constant] [--again] [--workers N]

A grid finds the best rate of each loop without `homeostat`, on a seed that is not reported. Then every loop runs
without and with the recipe, all else equal, from that rate, a hundredth and a hundred times of it. The rates fall
along a cosine in both; with --constant they stay, and the recipe is told the length of the run instead. With --again
the grid and the runs without are taken from the results that are there, since a new recipe does not change them.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.foreign_loops import TASKS, UNITS, Run
from homeostat import Homeostat

RESULTS = Path(__file__).parent / "results"
GRID = {"adamw": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2), "sgd": (1e-2, 3e-2, 1e-1, 3e-1, 1.0)}
GRID_SEED = 100
SEEDS = (0, 1, 2)
SCALES = {"good": 1.0, "100x too low": 0.01, "100x too high": 100.0}
STEPS = 200


class Case(NamedTuple):
    """One training run of the comparison."""

    task: str
    run: Run
    steady: bool


class Row(NamedTuple):
    """One line of the table: results over the seeds, in the task's unit; NaN where the loss was no number."""

    task: str
    optimizer: str
    start: str
    rate: float
    without: list[float]
    steady: list[float]


def measure(case: Case) -> float:
    """Train once; returns the held-out error or loss."""
    torch.set_num_threads(1)
    homeostat = None
    if case.steady:
        homeostat = Homeostat.from_recipe("steady", horizon=None if case.run.annealed else case.run.steps)
    with warnings.catch_warnings():
        # A rate 100 times off may raise alarms; they are the recipe's voice, not a fault of the measurement.
        warnings.simplefilter("ignore")
        return TASKS[case.task](case.run, homeostat)


def best_rates(pool: ProcessPoolExecutor, annealed: bool) -> dict[tuple[str, str], float]:
    """Return the best rate of the grid for each task and optimizer, without `homeostat`."""
    cases = [Case(t, Run(o, rate, GRID_SEED, STEPS, annealed), False) for t in TASKS for o in GRID for rate in GRID[o]]
    best: dict[tuple[str, str], tuple[float, float]] = {}
    for case, result in zip(cases, pool.map(measure, cases), strict=True):
        sys.stderr.write(f"grid: {case.task} {case.run.optimizer} {case.run.rate:g}: {result:.3f}\n")
        key = (case.task, case.run.optimizer)
        if not math.isnan(result) and (key not in best or result < best[key][0]):
            best[key] = (result, case.run.rate)
    return {key: rate for key, (_, rate) in best.items()}


def outset(pool: ProcessPoolExecutor, annealed: bool) -> list[Row]:
    """Run everything without the recipe."""
    return [
        Row(
            task, optimizer, start, rate * scale, train(pool, task, optimizer, rate * scale, annealed, steady=False), []
        )
        for (task, optimizer), rate in best_rates(pool, annealed).items()
        for start, scale in SCALES.items()
    ]


def compare(pool: ProcessPoolExecutor, rows: list[Row], annealed: bool) -> list[Row]:
    """Run everything with the recipe."""
    compared = []
    for row in rows:
        steady = train(pool, row.task, row.optimizer, row.rate, annealed, steady=True)
        compared.append(row._replace(steady=steady))
        sys.stderr.write(line(compared[-1]) + "\n")
    return compared


def train(
    pool: ProcessPoolExecutor, task: str, optimizer: str, rate: float, annealed: bool, *, steady: bool
) -> list[float]:
    """Train on every seed."""
    runs = [Run(optimizer, rate, seed, STEPS, annealed) for seed in SEEDS]
    return list(pool.map(measure, [Case(task, run, steady) for run in runs]))


def cell(values: list[float]) -> str:
    """Write the mean and the range over seeds."""
    if any(math.isnan(value) for value in values):
        return "not a number"
    return f"{mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def line(row: Row) -> str:
    """Write a row of the table."""
    unit = UNITS[row.task]
    return (
        f"| {row.task}, {unit} | {row.optimizer} | {row.start} | {row.rate:g} "
        f"| {cell(row.without)} | {cell(row.steady)} |"
    )


def main() -> None:
    """Measure, print the table, and keep it with the raw results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--constant", action="store_true", help="no schedule in the loops")
    parser.add_argument("--again", action="store_true", help="keep what was run without the recipe")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time, one core each")
    arguments = parser.parse_args()
    annealed = not arguments.constant
    started = time.monotonic()
    name = "attach_anywhere" if annealed else "attach_anywhere_constant"
    raw_path = RESULTS / f"{name}.json"
    with ProcessPoolExecutor(arguments.workers) as pool:
        known = [Row(**row) for row in json.loads(raw_path.read_text("utf-8"))["rows"]] if arguments.again else None
        rows = compare(pool, known or outset(pool, annealed), annealed)
    table = [
        f"| {STEPS} steps, mean (range) of {len(SEEDS)} seeds | optimizer | start | rate | without | steady |",
        "|---|---|---|---|---|---|",
        *map(line, rows),
    ]
    facts = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": platform.machine(),
        "schedule": "cosine" if annealed else "constant",
        "seconds": round(time.monotonic() - started),
        "recipe": Homeostat.from_recipe("steady").recipe.model_dump(mode="json"),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text("\n".join(table) + "\n", encoding="utf-8")
    raw = {**facts, "rows": [row._asdict() for row in rows]}
    raw_path.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
