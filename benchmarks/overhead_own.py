"""How long `steady` itself works in a training step: the time inside its calls, without noise of the steps around it.

The calls are `observe` and the hooks before and after the optimizer's step, on one thread, on the wall: asking for the
process's own time takes longer than some of them. So steps in which another process was given the processor are left
out. What the calls do to the caches of the step that follows is not in it, and is part of `benchmarks.overhead`. After
the first 200 ticks.

    python -m benchmarks.overhead_own [--steps 1000] [--models mlp ...] [--output benchmarks/results/overhead_own.json]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.optim import AdamW

from benchmarks.overhead import FIRST
from benchmarks.overhead_models import WORKLOADS
from homeostat import Homeostat, HomeostatWarning


class Watch:
    """Adds up the time inside the functions it is put around."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self.seconds += time.perf_counter() - start
            return result

        return timed


def measure(model: str, steps: int) -> dict[str, Any]:
    """Seconds of each step, and of each that were the controller's."""
    torch.manual_seed(0)
    workload, watch = WORKLOADS[model](), Watch()
    optimizer = AdamW(workload.model.parameters(), lr=1e-3)
    observe = watch.around(Homeostat.from_recipe("steady").attach(workload.model, optimizer).observe)
    for hooks in (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks):
        for key, hook in hooks.items():
            hooks[key] = watch.around(hook)
    whole, own, undisturbed = [], [], []
    for _ in range(FIRST + steps):
        switches = _switches()
        watch.seconds, start = 0.0, time.perf_counter()
        loss = workload.loss()
        observe(loss=loss)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        whole.append(round(time.perf_counter() - start, 7))
        own.append(round(watch.seconds, 7))
        undisturbed.append(_switches() == switches)
    kept = [i for i in range(FIRST, FIRST + steps) if undisturbed[i]]
    return {"model": model, "steps": steps, "whole_s": [whole[i] for i in kept], "own_s": [own[i] for i in kept]}


def _switches() -> int:
    """How often another process has been given the processor."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def table(results: list[dict[str, Any]]) -> str:
    """Mean time of its own, and its share of the rest of the step; the median step besides, which is a quiet one."""
    lines = [
        "| model | steps | rest of a step | own time, mean | of the rest | own time, median |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        own = statistics.mean(result["own_s"])
        rest = statistics.mean(result["whole_s"]) - own
        cells = f"{1e3 * rest:.2f} ms | {1e6 * own:.0f} µs | {100 * own / rest:.1f} %"
        median = f"{1e6 * statistics.median(result['own_s']):.0f} µs"
        lines.append(f"| {result['model']} | {len(result['own_s'])} | {cells} | {median} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, write the raw times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="after the first ticks")
    parser.add_argument("--models", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/overhead_own.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    warnings.simplefilter("ignore", HomeostatWarning)
    results = [measure(model, arguments.steps) for model in arguments.models]
    print(table(results))
    arguments.output.write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
