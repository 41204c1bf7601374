"""Runs every law on every plant it is meant for, with a tenth, all and ten times of the gain it was tuned for.

    python -m benchmarks.laws [--output benchmarks/results/laws]

Writes OUTPUT.md, tables to read, and OUTPUT.json, every figure of every run. All runs are simulations with a seed, so
the same code gives the same files.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.laws import joint, linear, quantised, training
from benchmarks.laws.measure import judge
from benchmarks.laws.tasks import GAINS, Task

PEER, OURS = "peer: adaptive KL, as in libraries", "LogIntegrator (default)"

LEGEND = """# Every law on the plants it is meant for

`python -m benchmarks.laws` wrote this. Every law is tuned once, for the gain 1x; the plant then has a tenth of it, all
of it, ten times as much. A cell holds, of the reading without the noise of its measurement:

overshoot in % of the step; settling, the ticks after which the error stays within 5 % of the step (no: never); IAE, the
integral of the absolute error; travel of the knob, in its own coordinate; saturation, % of the ticks at a limit.

Noise has a standard deviation of a tenth of the setpoint; outliers are ten times the setpoint, at 2 % of the ticks.
Under noise "settled" asks the knob to rest, too: what moves it moves the reading. A law named "peer" is a published
rule of others with its published constants, which were not chosen for these plants. Linear laws that are tuned for
speed do not survive ten times the gain where there is a dead time; these tables show how that looks.
"""


def tasks() -> Iterator[Task]:
    """Yield everything that is simulated, but for the quantised knobs."""
    yield training.divergence()
    yield from (linear.first_order(), linear.unknown(), linear.second_order(), linear.integrator(), linear.unstable())
    yield linear.two_by_two()
    yield from (joint.nested(), joint.loaded(), joint.guarded(), joint.switching())
    yield from (training.dropout_gap(), training.edge(), training.capacity(), training.optimum())
    yield training.descent("Loss of a quadratic under SGD", training.sgd, 0.1)
    yield training.descent("Loss of a quadratic under Adam", training.adam, 0.01)


def runs(task: Task) -> Iterator[dict[str, Any]]:
    """Yield the figures of every run of a task."""
    for condition, change in task.conditions.items():
        for name, law in task.laws.items():
            for gain in GAINS:
                figures = judge(law, change(task.plant(gain)), task.goal, **task.how)
                yield {"plant": task.title, "condition": condition, "law": name, "gain": gain, **figures._asdict()}


def table(results: Iterable[dict[str, Any]]) -> str:
    """Return the Markdown of one task under one condition."""
    lines = ["| overshoot, settling, IAE, travel, saturation | 0.1x | 1x | 10x |", "|---|---|---|---|"]
    for law, found in groupby(results, key=lambda result: result["law"]):
        lines.append(f"| {law} | " + " | ".join(map(cell, found)) + " |")
    return "\n".join(lines) + "\n"


def cell(result: dict[str, Any]) -> str:
    """Return one run's figures."""
    settling = "no" if math.isinf(result["settling"]) else f"{result['settling']:.0f}"
    overshoot = f"{short(100 * result['overshoot'])} %"
    return f"{overshoot}, {settling}, {short(result['iae'])}, {short(result['travel'])}, {result['saturation']:.0%}"


def short(value: float) -> str:
    """Return three digits, more before the point; 0 for what is rounding."""
    if value < 1e-6:
        return "0"
    return f"{value:.3g}" if value < 100 or value >= 1e6 else f"{value:.0f}"


def headline(results: Iterable[dict[str, Any]]) -> str:
    """Return the default law beside adaptive KL on a clean plant: off by ten, and as assumed."""
    first = (r for r in results if r["plant"] == "Divergence under a penalty" and r["condition"] == "clean")
    found = {(r["law"], r["gain"]): r for r in first}
    lines = [
        "## The default beside adaptive KL, on a divergence that follows its penalty in 30 ticks\n",
        "| | overshoot, gain 10x | IAE, gain 10x | settling, gain 10x | overshoot, 1x | settling, 1x |",
        "|---|---|---|---|---|---|",
    ]
    for law in (PEER, OURS):
        off, as_assumed = found[law, 10.0], found[law, 1.0]
        lines.append(
            f"| {law} | {off['overshoot']:.0%} | {off['iae']:.0f} | {off['settling']:.0f} "
            f"| {as_assumed['overshoot']:.0%} | {as_assumed['settling']:.0f} |"
        )
    better = {name: found[PEER, 10.0][name] / found[OURS, 10.0][name] for name in ("overshoot", "iae", "settling")}
    lines.append(f"| better by | {better['overshoot']:.0f}x | {better['iae']:.0f}x | {better['settling']:.1f}x | | |")
    return "\n".join(lines) + "\n"


def steps_table(results: Iterable[dict[str, Any]]) -> str:
    """Return the Markdown of one quantised knob."""
    lines = ["| steady error in quanta, moves in 1000 ticks | 0.1x | 1x | 10x |", "|---|---|---|---|"]
    for law, found in groupby(results, key=lambda result: result["law"]):
        cells = [f"{short(r['steady_quanta'])}, {r['moves']:.0f} (at most {r['most_moves']:.0f})" for r in found]
        lines.append(f"| {law} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, print and write everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent.parent / "results" / "laws")
    arguments = parser.parse_args()
    start, pages = time.process_time(), [LEGEND]
    raw: dict[str, list[dict[str, Any]]] = {"runs": [], "quantised": []}
    for task in tasks():
        found = list(runs(task))
        raw["runs"] += found
        pages.append(f"## {task.title}\n")
        for condition, results in groupby(found, key=lambda result: str(result["condition"])):
            pages.append(f"### {task.title}: {condition}\n\n{table(results)}")
        print(f"{time.process_time() - start:6.1f} s {task.title}", flush=True)
    pages.insert(1, headline(raw["runs"]))
    for steps in (quantised.window(), quantised.batch()):
        found = quantised.rows(steps)
        raw["quantised"] += found
        pages.append(f"## {steps.title}\n\n{steps_table(found)}")
        print(f"{time.process_time() - start:6.1f} s {steps.title}", flush=True)
    arguments.output.with_suffix(".md").write_text("\n".join(pages))
    lines = [f' "{key}": [\n  ' + ",\n  ".join(map(as_json, rows)) + "\n ]" for key, rows in raw.items()]
    arguments.output.with_suffix(".json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def as_json(row: dict[str, Any]) -> str:
    """Return a row with five digits a number; null for never."""
    rounded = {key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in row.items()}
    return json.dumps({key: None if value == math.inf else value for key, value in rounded.items()})


if __name__ == "__main__":
    main()
