"""What a decision costs: one of each law in microseconds, and a tick of a real `Homeostat` with 1 to 1000 loops.

Laws are asked again what they were asked in a loop that had run for 400 decisions, so nothing but `update` is timed.
For the loops a model of one weight is trained by SGD and carries a dial a loop; every loop decides at every tick, has
an observer, a law and a dial of its own, and is recorded. Its cost is the step with `Homeostat` less the step without.

Repetitions are interleaved, and times are the process's own on one thread, so that a machine whose speed drifts or is
shared slows all alike. Writes its raw times as JSON, and tables as Markdown beside.

    python -m benchmarks.decisions [--repetitions 9] [--output benchmarks/results/decisions]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.laws.__main__ import tasks
from homeostat import Homeostat, HomeostatWarning, Loop
from homeostat.actuators import Dial
from homeostat.laws import CUSUM, EMA, PID, Affine, DeadBand, Input, Kalman, Law, Median, RelayTest, SlewLimit, StepTest
from homeostat.nn import Dial as DialModule
from homeostat.observers import Loss

COUNTS = (1, 3, 10, 30, 100, 300, 1000)
WARM_UP, DECISIONS = 400, 200


def laws() -> dict[str, Law]:
    """Return the first law of each kind that the simulations use, the filters and experiments by themselves."""
    alone = (EMA(time_constant=7), Median(window=5), Kalman(noise=0.1, drift=0.03), CUSUM(noise=0.1), Affine(gain=2.0))
    more = (SlewLimit(rate=0.1), DeadBand(below=0.1, above=0.1, rest=0.03), RelayTest(amplitude=0.5))
    found: dict[str, Law] = {}
    for law in (*alone, *more, StepTest(amplitude=0.1, hold=100), *(x for task in tasks() for x in task.laws.values())):
        found.setdefault(type(law).__name__, law)
    return found


def course(law: Law) -> list[tuple[Any, Input]]:
    """Return states and inputs of decisions in a loop; every reading is exp(-level), the level follows a knob."""
    (n, m), rng = law.shape, np.random.default_rng(0)
    state, levels, knobs, asked = law.init(), [0.0] * n, (0.5,) * m, []
    for decision in range(WARM_UP + DECISIONS):
        levels = [x + (knobs[i % m] - x) / 20 for i, x in enumerate(levels)]
        readings = tuple(math.exp(-x + 0.05 * z) for x, z in zip(levels, rng.standard_normal(n).tolist(), strict=True))
        given = Input(readings, (0.5,) * n, knobs, (decision == 0,) * m, 1)
        asked.append((state, given))
        command, state, _ = law.update(state, given)
        knobs = tuple(min(max(u, -3.0), 3.0) for u in command)
    return asked[WARM_UP:]


def decide(law: Law, asked: list[tuple[Any, Input]]) -> float:
    """Return microseconds a decision."""
    update, start = law.update, time.process_time()
    for state, given in asked:
        update(state, given)
    return 1e6 * (time.process_time() - start) / len(asked)


class Carrier(nn.Module):
    """One weight, and a dial a loop."""

    def __init__(self, dials: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.dials = nn.ModuleList(DialModule(1.0) for _ in range(dials))

    def forward(self) -> Tensor:
        """Return a loss."""
        return self.weight.square()


class Run:
    """The training of a `Carrier` with `count` loops, or without a controller."""

    def __init__(self, count: int = 0) -> None:
        self.model = Carrier(count)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3)
        self.homeostat = Homeostat(list(self.loops(count)), capacity=50, vitals_every=0) if count else None
        if self.homeostat is not None:
            self.homeostat.attach(self.model, self.optimizer)

    def loops(self, count: int) -> Iterator[Loop]:
        """Yield loops that differ in every part."""
        for i in range(count):
            observer = Loss(smoothing=1 + i / count)
            law = PID(gain=0.1 + i / count, integral_time=100, log_error=True)
            actuator = Dial(dials=f"dials.{i}", low=1e-3, high=1e3, scale="log")
            yield Loop(observer, law, actuator, setpoint=0.5, every=1, name=f"loop {i}")

    def time(self, ticks: int) -> float:
        """Return microseconds a step."""
        start = time.process_time()
        for _ in range(ticks):
            loss = self.model()
            if self.homeostat is not None:
                self.homeostat.observe(loss=loss)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return 1e6 * (time.process_time() - start) / ticks


def measure_laws(repetitions: int) -> dict[str, list[float]]:
    """Return the times of a decision, law by law."""
    asked = {name: (law, course(law)) for name, law in laws().items()}
    times: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(repetitions):
        for name, (law, inputs) in asked.items():
            times[name].append(decide(law, inputs))
    return times


def measure_loops(repetitions: int) -> dict[int, list[float]]:
    """Return the times of a step, by the number of loops; 0 is without a controller."""
    runs = {count: Run(count) for count in (0, *COUNTS)}
    times: dict[int, list[float]] = {count: [] for count in runs}
    for run in runs.values():
        run.time(3)
    for _ in range(repetitions):
        for count, run in runs.items():
            times[count].append(run.time(max(5, 500 // (count + 1))))
    return times


def fit(times: dict[int, list[float]]) -> dict[str, Any]:
    """Return cost = start + slope * loops, by least squares of relative errors, and how well it holds."""
    bare = statistics.median(times[0])
    counts = np.array(COUNTS, dtype=np.float64)
    costs = np.array([statistics.median(times[count]) for count in COUNTS]) - bare
    slope, start = np.polyfit(counts, costs, 1, w=1 / costs)
    off = np.abs(costs / (start + slope * counts) - 1)
    exponent = math.log(costs[-1] / costs[-3]) / math.log(COUNTS[-1] / COUNTS[-3])
    return {
        "bare_us": bare,
        "cost_us": dict(zip(COUNTS, costs.round(1).tolist(), strict=True)),
        "start_us": float(start),
        "us_a_loop": float(slope),
        "greatest_relative_error": float(off.max()),
        "exponent_100_to_1000": exponent,
    }


def page(law_times: dict[str, list[float]], loops: dict[str, Any]) -> str:
    """Return the tables."""
    lines = [
        "# What a decision costs\n",
        "`python -m benchmarks.decisions` wrote this; process time on one thread, at a load average of "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores: the least times are nearest to an idle machine's.\n",
    ]
    lines += ["| law | µs a decision, median | least | greatest |", "|---|---|---|---|"]
    for name, times in sorted(law_times.items(), key=lambda item: statistics.median(item[1])):
        lines.append(f"| {name} | {statistics.median(times):.2f} | {min(times):.2f} | {max(times):.2f} |")
    lines += ["\nA Homeostat whose loops decide at every tick, over the same training step without:\n"]
    lines += ["| loops | µs a tick | µs a tick and loop |", "|---|---|---|"]
    lines += [f"| {count} | {cost:.0f} | {cost / count:.1f} |" for count, cost in loops["cost_us"].items()]
    lines.append(
        f"\nThe line {loops['start_us']:.0f} µs + {loops['us_a_loop']:.1f} µs a loop is nowhere more than "
        f"{loops['greatest_relative_error']:.0%} off; from 100 to 1000 loops the cost grows with the power "
        f"{loops['exponent_100_to_1000']:.2f} of their number."
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, write the raw times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=9, help="of each")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "decisions")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # An alarm of a loop says nothing of its cost, nor does a dial that nothing reads.
    warnings.simplefilter("ignore", HomeostatWarning)
    law_times = measure_laws(arguments.repetitions)
    loop_times = measure_loops(arguments.repetitions)
    loops = fit(loop_times)
    text = page(law_times, loops)
    print(text)
    arguments.output.with_suffix(".md").write_text(text)
    raw = {"law_us": law_times, "step_us": loop_times, "loops": loops, "torch": torch.__version__}
    arguments.output.with_suffix(".json").write_text(json.dumps(raw) + "\n")


if __name__ == "__main__":
    main()
