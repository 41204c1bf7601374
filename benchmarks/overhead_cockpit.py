r"""What Cockpit's economy tier costs, at every step, beside `steady` and the usual means, on the model it can watch.

It needs torch's individual gradients (BackPACK), and with these an environment of its own, in which torchvision is left
out, since it would take another build of torch:

    python -m venv cockpit
    cockpit/bin/pip install -c constraints.txt . matplotlib pandas "setuptools<81"
    cockpit/bin/pip install --no-deps cockpit-for-pytorch==1.0.2 backpack-for-pytorch unfoldnd einops json-tricks \
        seaborn
    cockpit/bin/python -m benchmarks.overhead_cockpit

BackPACK has no individual gradients for batch normalisation in training, nor for attention, nor for modules of one's
own: of the models of `benchmarks/overhead.py` the MLP is left. The step is timed bare, under Cockpit, under `steady`
and under what others do to the gradients, in the same process, by turns of `CHUNKS` steps, in the process's own time on
one thread. `steady` is timed when it has settled, after `FIRST` steps; Cockpit, whose every step is as dear as many,
costs the same from the start.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW

from benchmarks.overhead import HOOKS, steady
from benchmarks.overhead_models import mlp
from homeostat import Homeostat

FIRST = 600
CHUNKS = {"bare": 100, "economy": 4, "steady": 100, **dict.fromkeys(HOOKS, 100)}


class Run:
    """One training run, as one of `CHUNKS`."""

    def __init__(self, contender: str) -> None:
        torch.manual_seed(0)
        self.workload = mlp()
        self.step = 0
        self.cockpit: Any = None
        if contender == "economy":
            from backpack import extend  # noqa: PLC0415 (lives in the other environment)
            from cockpit import Cockpit  # noqa: PLC0415
            from cockpit.utils.configuration import configuration  # noqa: PLC0415

            extend(self.workload.model)
            self.individual = extend(nn.CrossEntropyLoss(reduction="none"))
            self.cockpit = Cockpit(self.workload.model.parameters(), quantities=configuration("economy"))
        self.optimizer = AdamW(self.workload.model.parameters(), lr=1e-3)
        self.homeostat: Homeostat | None = None
        if contender == "steady":
            self.homeostat = steady().attach(self.workload.model, self.optimizer)
        self.before = HOOKS[contender]() if contender in HOOKS else None

    def time(self, steps: int) -> float:
        """Train; returns the seconds it took."""
        start = time.process_time()
        for _ in range(steps):
            self.optimizer.zero_grad()
            if self.cockpit is None:
                self._backward()
            else:
                self._watched_backward()
            if self.before is not None:
                self.before(self.workload.model.parameters())
            self.optimizer.step()
            self.step += 1
        return time.process_time() - start

    def _backward(self) -> None:
        loss = self.workload.loss()
        if self.homeostat is not None:
            self.homeostat.observe(loss=loss)
        loss.backward()  # type: ignore[no-untyped-call]

    def _watched_backward(self) -> None:
        inputs, targets = self.workload.batch()
        losses = self.individual(self.workload.model(inputs), targets)
        loss = losses.mean()
        info = {
            "batch_size": len(inputs),
            "individual_losses": losses,
            "loss": loss,
            "optimizer": self.optimizer,
        }
        with self.cockpit(self.step, info=info):
            loss.backward(create_graph=self.cockpit.create_graph(self.step))


def main() -> None:
    """Measure, print, write the raw times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/overhead_cockpit.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runs = {name: Run(name) for name in CHUNKS}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for name, run in runs.items():
        run.time(CHUNKS[name] if name == "economy" else FIRST)
    for _ in range(arguments.chunks):
        for name, run in runs.items():
            times[name].append(run.time(CHUNKS[name]) / CHUNKS[name])
    bare = statistics.median(times["bare"])
    ratios = {
        name: statistics.median(mine / b for mine, b in zip(times[name], times["bare"], strict=True))
        for name in CHUNKS
        if name != "bare"
    }
    others = ", ".join(f"{name} {100 * (ratio - 1):+.1f} %" for name, ratio in ratios.items() if name != "economy")
    print(
        f"MLP, bare step {1000 * bare:.2f} ms; Cockpit's economy tier at every step: {ratios['economy']:.1f} times "
        f"that; {others}"
    )
    found = {"torch": torch.__version__, "model": "mlp", "ratios": ratios, "times_s": times}
    arguments.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
