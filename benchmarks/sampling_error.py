"""How far the error of sampled readings changes any decision of `steady`.

Every training loop of `benchmarks/foreign_loops.py` runs twice from the same seed: with the recipe as it is, and with
nothing sampled: update ratios over all elements, limits that look at every step, loops that never rest. Decisions that
both runs make at the same tick are compared; a run that was changed once goes on from there, so what differs later
includes what the earlier differences led to. Prints a table, and keeps the raw figures.

    python -m benchmarks.sampling_error [--tasks CNN ...] [--seeds 0 ...] [--steps 200]
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from pathlib import Path
from typing import Any

import torch

from benchmarks.foreign_loops import TASKS, Run
from homeostat import Homeostat
from homeostat.loop import CoupledLoop
from homeostat.recipes import load

RATES = {
    ("CNN", "adamw"): 3e-3,
    ("CNN", "sgd"): 3e-2,
    ("GPT", "adamw"): 3e-3,
    ("GPT", "sgd"): 3e-2,
    ("LSTM", "adamw"): 3e-2,
    ("LSTM", "sgd"): 1.0,
}
SCALES = (1.0, 0.01, 100.0)
ALL = 1 << 40


def exact(loop: CoupledLoop) -> CoupledLoop:
    """Return the loop with nothing sampled, in elements, tensors or time."""
    observers = [
        o.model_copy(update={"elements": ALL, "tensors": ALL} if hasattr(o, "tensors") else {}) for o in loop.observers
    ]
    actuators = [a.model_copy(update={"lot": 1} if hasattr(a, "lot") else {}) for a in loop.actuators]
    return loop.model_copy(update={"observers": tuple(observers), "actuators": tuple(actuators), "rest": None})


def train(task: str, run: Run, *, sampled: bool) -> tuple[float, Homeostat]:
    """Train once; returns the held-out result and the controller with its trace."""
    recipe = load("steady")
    loops = [loop.coupled() if sampled else exact(loop.coupled()) for loop in recipe.loops]
    homeostat = Homeostat(loops, guards=recipe.guards, ladder=recipe.ladder, snapshots=recipe.snapshots)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TASKS[task](run, homeostat), homeostat


def compare(task: str, run: Run) -> dict[str, Any]:
    """Return by loop how many decisions differ, by how much the knob at most and the reading in the median."""
    result, whole = train(task, run, sampled=False)
    sampled_result, sampled = train(task, run, sampled=True)
    loops = {}
    for name in whole.trace.loops:
        ours = {int(r.tick): r for r in sampled.trace.records(name, 10**6)}
        pairs = [(r, ours[r.tick]) for r in whole.trace.records(name, 10**6) if r.tick in ours]
        knobs = [
            abs(math.log(b.delivered[0] / a.delivered[0])) for a, b in pairs if min(*a.delivered, *b.delivered) > 0
        ]
        readings = sorted(abs(b.readings[0] - a.readings[0]) / max(abs(a.readings[0]), 1e-12) for a, b in pairs)
        loops[name] = {
            "decisions": len(pairs),
            "differ": sum(k > 1e-6 for k in knobs),
            "greatest_factor": math.exp(max(knobs, default=0.0)),
            "median_reading_error": readings[len(readings) // 2] if readings else 0.0,
        }
    return {"task": task, **run._asdict(), "exact": result, "sampled": sampled_result, "loops": loops}


def main() -> None:
    """Compare, print a line a run, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/sampling_error.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for (task, optimizer), rate in RATES.items():
        runs = [Run(optimizer, rate * scale, seed, arguments.steps) for scale in SCALES for seed in arguments.seeds]
        for run in runs if task in arguments.tasks else ():
            found.append(compare(task, run))
            shown = "; ".join(
                f"{name}: {each['differ']} of {each['decisions']} differ, at most {each['greatest_factor']:.3f} times"
                for name, each in found[-1]["loops"].items()
            )
            results = f"{found[-1]['exact']:.3f} exact, {found[-1]['sampled']:.3f} sampled"
            print(f"{task} {optimizer} {run.rate:g}, seed {run.seed}: {results}; {shown}", flush=True)
            arguments.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
