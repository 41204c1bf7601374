"""What a controller costs: a training step with `Homeostat` over the same step without, beside what others cost.

All contenders train at once, 20 steps at a time by turns, so that a machine whose speed drifts slows all alike. Time is
the process's own on one thread, so that other processes do not count. The first 200 ticks, in which loops decide often
and limits look at every step, are reported apart from what follows. A table as Markdown, the raw times as JSON.

    python -m benchmarks.overhead [--seconds 20] [--models mlp ...] [--output benchmarks/results/overhead]

Cockpit needs an environment of its own; `benchmarks/overhead_cockpit.py` says how to make it, and times it on the MLP.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch.nn import Parameter
from torch.nn.utils import get_total_norm
from torch.optim import AdamW

from benchmarks.clipping import AutoClip, ZClip, clip_to_one
from benchmarks.overhead_models import WORKLOADS, Workload
from homeostat import Homeostat, HomeostatWarning
from homeostat.recipes import load

CHUNK, FIRST, ROUND = 20, 200, 100

Before = Callable[[Iterable[Parameter]], None]


def exact_pass(parameters: Iterable[Parameter]) -> None:
    """Measure the norm of all gradients and do nothing with it: the floor of all that looks at every gradient."""
    get_total_norm(p.grad for p in parameters if p.grad is not None)


def steady() -> Homeostat:
    """Return the recipe as it is."""
    return Homeostat.from_recipe("steady")


def steady_every_tick() -> Homeostat:
    """Return the recipe with every loop deciding, and every limit looking, at every tick."""
    recipe = load("steady")
    loops = []
    for loop in recipe.loops:
        coupled = loop.coupled()
        fields = [{"lot": 1} if hasattr(a, "lot") else {} for a in coupled.actuators]
        actuators = tuple(a.model_copy(update=f) for a, f in zip(coupled.actuators, fields, strict=True))
        loops.append(coupled.model_copy(update={"every": 1, "rest": None, "actuators": actuators}))
    return Homeostat(loops, guards=recipe.guards, ladder=recipe.ladder, snapshots=recipe.snapshots)


CONTROLLERS: dict[str, Callable[[], Homeostat]] = {"steady": steady, "steady, every tick": steady_every_tick}
HOOKS: dict[str, Callable[[], Before]] = {
    "exact pass": lambda: exact_pass,
    "clip_grad_norm_(1.0)": lambda: clip_to_one,
    "AutoClip": AutoClip,
    "ZClip": ZClip,
}


class Run:
    """One training run: bare, with a controller, or with something done to the gradients before each step."""

    def __init__(self, make: Callable[[], Workload], contender: str) -> None:
        torch.manual_seed(0)
        self.workload = make()
        self.parameters = list(self.workload.model.parameters())
        self.optimizer = AdamW(self.parameters, lr=1e-3)
        self.homeostat: Homeostat | None = None
        self.before: Before | None = None
        if contender in CONTROLLERS:
            self.homeostat = CONTROLLERS[contender]().attach(self.workload.model, self.optimizer)
        elif contender in HOOKS:
            self.before = HOOKS[contender]()

    def time(self, steps: int) -> float:
        """Train; returns the seconds it took."""
        start = time.process_time()
        for _ in range(steps):
            loss = self.workload.loss()
            if self.homeostat is not None:
                self.homeostat.observe(loss=loss)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if self.before is not None:
                self.before(self.parameters)
            self.optimizer.step()
        return time.process_time() - start


def chunks(runs: dict[str, Run], steps: int) -> dict[str, float]:
    """Train all for so many steps, by turns; returns the seconds of each."""
    seconds = dict.fromkeys(runs, 0.0)
    for _ in range(steps // CHUNK):
        for name, run in runs.items():
            seconds[name] += run.time(CHUNK)
    return seconds


def measure(model: str, seconds: float) -> dict[str, Any]:
    """Time one model under all contenders, for about so many seconds each after the first ticks."""
    runs = {name: Run(WORKLOADS[model], name) for name in ("bare", *CONTROLLERS, *HOOKS)}
    first = chunks(runs, FIRST)
    rounds = max(2, round(seconds / first["bare"] * FIRST / ROUND))
    times = [chunks(runs, ROUND) for _ in range(rounds)]
    others = [name for name in runs if name != "bare"]
    return {
        "model": model,
        "tensors": len(runs["bare"].parameters),
        "bare_ms": 1000 * statistics.median(t["bare"] for t in times) / ROUND,
        "first": {name: first[name] / first["bare"] - 1 for name in others},
        "after": {name: statistics.median(t[name] / t["bare"] for t in times) - 1 for name in others},
        "first_s": first,
        "rounds_s": times,
    }


def table(results: list[dict[str, Any]]) -> str:
    """Write what each contender adds to a step, after the first ticks and, in brackets, in them."""
    names = list(results[0]["after"])
    lines = [
        f"| model | tensors | bare step | {' | '.join(names)} |",
        "|---|---|---|" + "---|" * len(names),
    ]
    for result in results:
        cells = [f"{100 * result['after'][name]:+.1f} % ({100 * result['first'][name]:+.0f} %)" for name in names]
        lines.append(f"| {result['model']} | {result['tensors']} | {result['bare_ms']:.2f} ms | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print the table, write it with the raw times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of training a contender, after the first ticks")
    parser.add_argument("--models", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/overhead"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # Numbers too small for the processor's fast path slow whichever run makes more of them, by 10 % here, and that is
    # for the course of the run to answer, not for what steers it.
    torch.set_flush_denormal(True)
    # An alarm of a loop says nothing of its cost.
    warnings.simplefilter("ignore", HomeostatWarning)
    results = []
    for model in arguments.models:
        results.append(measure(model, arguments.seconds))
        print(table(results).splitlines()[-1], flush=True)
    machine = {"torch": torch.__version__, "machine": platform.machine()}
    arguments.output.with_suffix(".md").write_text(table(results))
    arguments.output.with_suffix(".json").write_text(
        json.dumps({"machine": machine, "results": results}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
