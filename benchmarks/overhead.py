"""What a controller costs: a training step with `Homeostat` over the same step without, on three sizes of model.

Repetitions with and without are interleaved, so that a machine whose speed drifts slows both, and the ratio is
that of the medians. Time is the process's own on one thread, so that other processes do not count. Every repetition
goes on with the same run. Writes its raw times as JSON.

    python benchmarks/overhead.py [--seconds 0.4] [--repetitions 9] [--output benchmarks/results/overhead.json]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW

from homeostat import Homeostat, HomeostatWarning
from homeostat.actuators import LimitActuator
from homeostat.recipes import load

# Ticks between decisions, and whether the limits on gradient and update act (on every step, whatever the cadence).
SETTINGS = {
    "every 10, limits open": (10, False),
    "every 10": (10, True),
    "every tick, limits open": (1, False),
    "every tick": (1, True),
}


def mlp() -> tuple[nn.Module, Callable[[], Tensor]]:
    """About 1.5 ms a step."""
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    x, y = torch.randn(128, 64), torch.randint(10, (128,))
    return model, lambda: F.cross_entropy(model(x), y)


def cnn() -> tuple[nn.Module, Callable[[], Tensor]]:
    """About 10 ms a step."""
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(64, 10))
    x, y = torch.randn(16, 1, 16, 16), torch.randint(10, (16,))
    return model, lambda: F.cross_entropy(model(x), y)


def transformer() -> tuple[nn.Module, Callable[[], Tensor]]:
    """50 ms a step and more, 74 tensors."""
    layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.1, batch_first=True, norm_first=True)
    body = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
    model = nn.Sequential(nn.Embedding(100, 128), body, nn.Linear(128, 100))
    tokens = torch.randint(100, (8, 48))
    return model, lambda: F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())


MODELS = {"mlp": mlp, "cnn": cnn, "transformer": transformer}


class Run:
    """One training run under one of `SETTINGS`, or without a controller."""

    def __init__(self, make: Callable[[], tuple[nn.Module, Callable[[], Tensor]]], setting: str = "") -> None:
        torch.manual_seed(0)
        self.model, self.loss = make()
        self.optimizer = AdamW(self.model.parameters(), lr=1e-3)
        self.homeostat: Homeostat | None = None
        if setting:
            every, limited = SETTINGS[setting]
            loops = [loop.coupled().model_copy(update={"every": every}) for loop in load("steady").loops]
            loops = [loop for loop in loops if limited or not isinstance(loop.actuators[0], LimitActuator)]
            self.homeostat = Homeostat(loops, report_every=10).attach(self.model, self.optimizer)

    def time(self, steps: int) -> float:
        """Seconds a step."""
        start = time.process_time()
        for _ in range(steps):
            loss = self.loss()
            if self.homeostat is not None:
                self.homeostat.observe(loss=loss)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return (time.process_time() - start) / steps


def measure(name: str, seconds: float, repetitions: int) -> dict[str, Any]:
    """Time one model with each cadence and without a controller, in turn."""
    runs = {"bare": Run(MODELS[name]), **{setting: Run(MODELS[name], setting) for setting in SETTINGS}}
    times: dict[str, list[float]] = {key: [] for key in runs}
    for run in runs.values():
        run.time(3)
    # A multiple of every cadence, so that each repetition holds equally many decisions.
    steps = 10 * max(1, round(seconds / runs["bare"].time(5) / 10))
    for _ in range(repetitions):
        for key, run in runs.items():
            times[key].append(run.time(steps))
    medians = {key: statistics.median(values) for key, values in times.items()}
    tensors = sum(1 for _ in runs["bare"].model.parameters())
    overhead = {key: medians[key] / medians["bare"] - 1 for key in runs if key != "bare"}
    return {"model": name, "tensors": tensors, "median_s": medians, "overhead": overhead, "times_s": times}


def main() -> None:
    """Measure, print a line a model, write the raw times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.4, help="length of a repetition")
    parser.add_argument("--repetitions", type=int, default=9, help="repetitions of each")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/overhead.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # An alarm of a loop says nothing of its cost.
    warnings.simplefilter("ignore", HomeostatWarning)
    results = []
    for name in MODELS:
        result = measure(name, arguments.seconds, arguments.repetitions)
        shown = ", ".join(f"{key} {100 * value:+.1f} %" for key, value in result["overhead"].items())
        print(f"{name}: {1000 * result['median_s']['bare']:.2f} ms a step, {result['tensors']} tensors; {shown}")
        results.append(result)
    machine = {"torch": torch.__version__, "machine": platform.machine()}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
