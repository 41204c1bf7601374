"""How long `steady`, and what others do to the gradients, itself works in a training step, without the steps' noise.

Measured is the time inside the calls: `observe` and the hooks before and after the optimizer's step, or what is called
before it. On one thread, on the wall: asking for the process's own time takes longer than some of the calls. So steps
in which another process was given the processor are left out. All contenders train at once, 20 steps at a time by
turns, and each is set against the rest of its own steps. What the calls do to the caches of the step that follows, and
the function that `attach` puts around the optimizer's step, are not in it: they are part of `benchmarks.overhead`.
After the first 200 ticks.

    python -m benchmarks.overhead_own [--steps 600] [--models mlp ...] [--output benchmarks/results/overhead_own.json]
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

from benchmarks.overhead import CHUNK, FIRST, HOOKS, steady
from benchmarks.overhead_models import WORKLOADS
from homeostat import HomeostatWarning

CONTENDERS = ("steady", *HOOKS)


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


class Run:
    """One training run under one contender.

    Attributes:
        whole: seconds of each step in which nobody else was given the processor.
        own: of each of these, the seconds that were the contender's.
    """

    def __init__(self, model: str, contender: str) -> None:
        torch.manual_seed(0)
        self._workload, self._watch = WORKLOADS[model](), Watch()
        self._parameters = list(self._workload.model.parameters())
        self._optimizer = AdamW(self._parameters, lr=1e-3)
        self._observe: Callable[..., Any] = lambda **_: None
        self._before: Callable[..., Any] = lambda _: None
        if contender == "steady":
            controller = steady().attach(self._workload.model, self._optimizer)
            self._observe = self._watch.around(controller.observe)
            for hooks in (self._optimizer._optimizer_step_pre_hooks, self._optimizer._optimizer_step_post_hooks):
                for key, hook in hooks.items():
                    hooks[key] = self._watch.around(hook)
        else:
            self._before = self._watch.around(HOOKS[contender]())
        self.whole: list[float] = []
        self.own: list[float] = []

    def train(self, steps: int) -> None:
        """Take so many steps."""
        for _ in range(steps):
            switches = _switches()
            self._watch.seconds, start = 0.0, time.perf_counter()
            loss = self._workload.loss()
            self._observe(loss=loss)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._before(self._parameters)
            self._optimizer.step()
            seconds = time.perf_counter() - start
            if _switches() == switches:
                self.whole.append(round(seconds, 7))
                self.own.append(round(self._watch.seconds, 7))

    def forget(self) -> None:
        """Forget the steps that were taken."""
        self.whole.clear()
        self.own.clear()


def _switches() -> int:
    """How often another process has been given the processor."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def measure(model: str, steps: int) -> dict[str, Any]:
    """Seconds of each step under each contender, and of each that were its own."""
    runs = {contender: Run(model, contender) for contender in CONTENDERS}
    for run in runs.values():
        run.train(FIRST)
        run.forget()
    for _ in range(steps // CHUNK):
        for run in runs.values():
            run.train(CHUNK)
    return {
        "model": model,
        "steps": steps,
        "runs": {name: {"whole_s": run.whole, "own_s": run.own} for name, run in runs.items()},
    }


def row(result: dict[str, Any]) -> str:
    """Mean time of each contender, and its share of the rest of the step; of `steady` the median step besides."""
    runs = result["runs"]
    rests = [statistics.mean(run["whole_s"]) - statistics.mean(run["own_s"]) for run in runs.values()]
    cells = [f"{1e3 * statistics.median(rests):.1f} ms"]
    for run, rest in zip(runs.values(), rests, strict=True):
        own = statistics.mean(run["own_s"])
        cells.append(f"{1e6 * own:.0f} µs, {100 * own / rest:.2f} %")
    quiet = 1e6 * statistics.median(runs["steady"]["own_s"])
    return f"| {result['model']} | {' | '.join(cells)} | {quiet:.0f} µs |"


def main() -> None:
    """Measure, print the table, write the raw times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600, help="after the first ticks")
    parser.add_argument("--models", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/overhead_own.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    warnings.simplefilter("ignore", HomeostatWarning)
    print(f"| model | rest of a step | {' | '.join(CONTENDERS)} | steady, median step |")
    print("|---|---|" + "---|" * (len(CONTENDERS) + 1))
    results = []
    for model in arguments.models:
        results.append(measure(model, arguments.steps))
        print(row(results[-1]), flush=True)
    arguments.output.write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
