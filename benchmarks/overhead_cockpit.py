"""What Cockpit's economy tier costs, at every step, on the model of `benchmarks/overhead.py` that it can watch.

It needs torch's individual gradients (BackPACK), and with these an environment of its own:

    python -m venv cockpit && cockpit/bin/pip install cockpit-for-pytorch==1.0.2 "setuptools<81"
    cockpit/bin/python -m benchmarks.overhead_cockpit

BackPACK has no individual gradients for batch normalisation in training, nor for attention, nor for modules of one's
own: of the models there the MLP is left. The bare step is timed in the same process, by turns.
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

from benchmarks.overhead_models import mlp

CHUNK, FIRST = 20, 200


class Run:
    """One training run, bare or watched."""

    def __init__(self, *, watched: bool) -> None:
        torch.manual_seed(0)
        self.workload = mlp()
        self.step = 0
        self.cockpit: Any = None
        if watched:
            from backpack import extend  # noqa: PLC0415 (lives in the other environment)
            from cockpit import Cockpit  # noqa: PLC0415
            from cockpit.utils.configuration import configuration  # noqa: PLC0415

            extend(self.workload.model)
            self.individual = extend(nn.CrossEntropyLoss(reduction="none"))
            self.cockpit = Cockpit(self.workload.model.parameters(), quantities=configuration("economy"))
        self.optimizer = AdamW(self.workload.model.parameters(), lr=1e-3)

    def time(self, steps: int) -> float:
        """Train; returns the seconds it took."""
        start = time.process_time()
        for _ in range(steps):
            self.optimizer.zero_grad()
            if self.cockpit is None:
                self.workload.loss().backward()  # type: ignore[no-untyped-call]
            else:
                self._watched_backward()
            self.optimizer.step()
            self.step += 1
        return time.process_time() - start

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
    parser.add_argument("--chunks", type=int, default=10)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/overhead_cockpit.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runs = {"bare": Run(watched=False), "economy": Run(watched=True)}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for name, run in runs.items():
        run.time(FIRST if name == "bare" else CHUNK)
    for _ in range(arguments.chunks):
        for name, run in runs.items():
            times[name].append(run.time(CHUNK) / CHUNK)
    ratio = statistics.median(e / b for e, b in zip(times["economy"], times["bare"], strict=True))
    bare = statistics.median(times["bare"])
    print(f"MLP, bare step {1000 * bare:.2f} ms; Cockpit's economy tier at every step: {ratio:.1f} times that")
    found = {"torch": torch.__version__, "model": "mlp", "ratio": ratio, "times_s": times}
    arguments.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
