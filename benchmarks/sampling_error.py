"""How far the error of sampled readings changes any decision of `steady`.

Every training loop of `benchmarks/foreign_loops.py` runs twice from the same seed: with the recipe as it is, and with
nothing sampled: update ratios over all elements, limits that look at every step, loops that never rest. Decisions that
both runs make at the same tick are compared; a run that was changed once goes on from there, so what differs later
includes what the earlier differences led to.

At the good rate they run once more with single gradients made 30 times as large, after the first quarter, which a
limit that looks at one step in 20 may miss: how much of each is left when the optimizer takes it; and how the same run
ends that nothing steers. Prints a table, and keeps the raw figures.

    python -m benchmarks.sampling_error [--tasks CNN ...] [--seeds 0 ...] [--steps 200] [--outliers 12]
"""

from __future__ import annotations

import argparse
import json
import math
import random
import warnings
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

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
TIMES = 30.0


class Outliers:
    """Stands in for the controller in a training loop, and makes the gradients of single steps `TIMES` as large.

    Args:
        homeostat: the controller, which finds them so.
        steps: which, counted from 1.

    Attributes:
        left: of each, the share of the gradient's norm that the optimizer took, in the order of the steps.
    """

    def __init__(self, homeostat: Homeostat, steps: frozenset[int]) -> None:
        self.left: list[float] = []
        self._homeostat, self._steps = homeostat, steps
        self._step, self._norm = 0, 0.0

    def attach(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Attach the controller between what enlarges and what looks."""
        optimizer.register_step_pre_hook(self._enlarge)
        self._homeostat.attach(model, optimizer)
        optimizer.register_step_pre_hook(self._look)

    def observe(self, **metrics: Tensor) -> None:
        """Hand on."""
        self._homeostat.observe(**metrics)

    def _enlarge(self, optimizer: Optimizer, *_: Any) -> None:
        self._step += 1
        if self._step in self._steps:
            gradients = _gradients(optimizer)
            torch._foreach_mul_(gradients, TIMES)
            self._norm = float(get_total_norm(gradients))

    def _look(self, optimizer: Optimizer, *_: Any) -> None:
        if self._step in self._steps:
            # A step that a guard skips has none.
            self.left.append(float(get_total_norm(_gradients(optimizer))) / self._norm)


def _gradients(optimizer: Optimizer) -> list[Tensor]:
    return [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def single_steps(run: Run, count: int) -> frozenset[int]:
    """Return which steps are outliers: drawn from the run's seed, from its last three quarters."""
    return frozenset(random.Random(run.seed).sample(range(run.steps // 4, run.steps), count))


def exact(loop: CoupledLoop) -> CoupledLoop:
    """Return the loop with nothing sampled, in elements, tensors or time."""
    observers = [
        o.model_copy(update={"elements": ALL, "tensors": ALL} if hasattr(o, "tensors") else {}) for o in loop.observers
    ]
    actuators = [a.model_copy(update={"lot": 1} if hasattr(a, "lot") else {}) for a in loop.actuators]
    return loop.model_copy(update={"observers": tuple(observers), "actuators": tuple(actuators), "rest": None})


def control(how: str) -> Homeostat:
    """Return the recipe "exact" or "sampled", or a controller of nothing, which is "bare"."""
    if how == "bare":
        return Homeostat([])
    recipe = load("steady")
    loops = [exact(loop.coupled()) if how == "exact" else loop for loop in recipe.loops]
    return Homeostat(loops, guards=recipe.guards, ladder=recipe.ladder, snapshots=recipe.snapshots)


def train(task: str, run: Run, outliers: frozenset[int], how: str) -> tuple[float, Homeostat, list[float]]:
    """Train once; returns the held-out result, the controller with its trace, and what was left of the outliers."""
    homeostat = control(how)
    steered = Outliers(homeostat, outliers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TASKS[task](run, cast("Homeostat", steered)), homeostat, steered.left


def compare(task: str, run: Run, outliers: int) -> dict[str, Any]:
    """Return by loop how many decisions differ, by how much the knob at most and the reading in the median."""
    steps = single_steps(run, outliers)
    result, whole, left = train(task, run, steps, "exact")
    sampled_result, sampled, sampled_left = train(task, run, steps, "sampled")
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
    found = {"task": task, **run._asdict(), "exact": result, "sampled": sampled_result, "loops": loops}
    if outliers:
        found["bare"] = train(task, run, steps, "bare")[0]
        found["outliers"] = {"steps": sorted(steps), "left": {"exact": left, "sampled": sampled_left}}
    return found


def line(found: dict[str, Any]) -> str:
    """Return one run's figures for people."""
    shown = "; ".join(
        f"{name}: {each['differ']} of {each['decisions']} differ, at most {each['greatest_factor']:.3f} times"
        for name, each in found["loops"].items()
    )
    if "outliers" in found:
        halved = {how: sum(share < 0.5 for share in left) for how, left in found["outliers"]["left"].items()}
        shown += f"; of {len(found['outliers']['steps'])} outliers cut to less than half: {halved}"
    results = ", ".join(f"{found[how]:.3f} {how}" for how in ("exact", "sampled", "bare") if how in found)
    return f"{found['task']} {found['optimizer']} {found['rate']:g}, seed {found['seed']}: {results}; {shown}"


def main() -> None:
    """Compare, print a line a run, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--outliers", type=int, default=12)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/sampling_error.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cases = [(scale, 0) for scale in SCALES] + [(1.0, arguments.outliers)]
    found = []
    for (task, optimizer), rate in RATES.items():
        runs = [
            (Run(optimizer, rate * scale, seed, arguments.steps), outliers)
            for scale, outliers in cases
            for seed in arguments.seeds
        ]
        for run, outliers in runs if task in arguments.tasks else ():
            found.append(compare(task, run, outliers))
            print(line(found[-1]), flush=True)
            arguments.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
