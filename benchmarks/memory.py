"""What a controller keeps: its own state, as text, its snapshots of the run, and whether it grows.

Snapshots: bytes over those of model and optimizer state, and the time to take one and to go back, in turn with
training steps of the same run, as process time on one thread. Growth: a tiny model under the whole recipe `steady`,
for 100 000 ticks by the memory of the process, and for a fifth of them under tracemalloc, which slows it; each in a
process of its own, side by side. Writes JSON.

    python -m benchmarks.memory [--ticks 100000] [--repetitions 30] [--output benchmarks/results/memory.json]
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import platform
import statistics
import time
import tracemalloc
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import AdamW

from benchmarks.overhead_models import WORKLOADS
from homeostat import Homeostat, HomeostatWarning
from homeostat.guards.snapshot import SnapshotPolicy, Snapshots
from homeostat.plant import Plant

MODELS = ("mlp", "cnn", "transformer", "1000 tensors")
# Records kept a loop: few, so that the trace is full, and what grows then grows without bound, after this share.
CAPACITY = 100
SETTLED = 0.5


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of processor time that `work` takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def snapshots(name: str, repetitions: int) -> dict[str, Any]:
    """Measure snapshots of one model with AdamW."""
    torch.manual_seed(0)
    workload = WORKLOADS[name]()
    model = workload.model
    optimizer = AdamW(model.parameters(), lr=1e-3)
    plant = Plant(model, (optimizer,))
    taken = Snapshots(SnapshotPolicy(every=1, probation=0), plant)

    def step() -> None:
        optimizer.zero_grad()
        workload.loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        plant.tick += 1

    def take() -> None:
        taken.take({})
        taken.confirm()

    times: dict[str, list[float]] = {"step": [], "take": [], "restore": []}
    for repetition in range(repetitions + 4):
        # Each once in turn; the first four fill the ring, so that memory is used again.
        for key, work in (("step", step), ("take", take), ("restore", taken.restore)):
            seconds = timed(work)
            if repetition >= 4:
                times[key].append(seconds)
    state = [v for values in optimizer.state.values() for v in values.values()]
    run = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers(), *state))
    medians = {key: statistics.median(values) for key, values in times.items()}
    one = taken.nbytes / len(taken.ticks)
    return {
        "model": name,
        "run_bytes": run,
        "snapshot_bytes": one,
        "median_s": medians,
        "take_ms_per_MB": 1e3 * medians["take"] / (one / 1e6),
        "restore_ms_per_MB": 1e3 * medians["restore"] / (one / 1e6),
        "take_share_at_default": medians["take"] / (SnapshotPolicy().every * medians["step"]),
        "times_s": times,
    }


def state_bytes(name: str) -> int:
    """Train a model under `steady` for 150 steps; returns the size of the controller's state as text."""
    torch.manual_seed(0)
    workload = WORKLOADS[name]()
    optimizer = AdamW(workload.model.parameters(), lr=1e-3)
    homeostat = Homeostat.from_recipe("steady").attach(workload.model, optimizer)
    for _ in range(150):
        loss = workload.loss()
        homeostat.observe(loss=loss)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return len(json.dumps(homeostat.state_dict()))


def resident() -> int:
    """Return the bytes of memory that this process occupies."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def growth(ticks: int, traced: bool) -> dict[str, Any]:
    """Train a tiny model under `steady`; returns memory by tick, and the size of the controller's state."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", HomeostatWarning)
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    optimizer = AdamW(model.parameters(), lr=1e-3)
    homeostat = Homeostat.from_recipe("steady", horizon=ticks, capacity=CAPACITY).attach(model, optimizer)
    if traced:
        tracemalloc.start()
    measured = []
    for tick in range(1, ticks + 1):
        loss = F.mse_loss(model(torch.randn(8, 4)), torch.ones(8, 2))
        homeostat.observe(loss=loss)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if tick % (ticks // 20) == 0:
            gc.collect()
            measured.append([tick, tracemalloc.get_traced_memory()[0] if traced else resident()])
            print(f"{'traced' if traced else 'resident'} bytes after {tick} ticks: {measured[-1][1]}", flush=True)
    return {"memory": measured, "state_bytes": len(json.dumps(homeostat.state_dict()))}


def grown(ticks: int) -> dict[str, Any]:
    """Run `growth` in two processes; adds bytes a tick, once settled."""
    kinds = {"process": (ticks, False), "tracemalloc": (ticks // 5, True)}
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
        running = {kind: processes.submit(growth, *given) for kind, given in kinds.items()}
    found = {kind: future.result() for kind, future in running.items()}
    for result in found.values():
        last = result["memory"][-1][0]
        settled = [(tick, size) for tick, size in result["memory"] if tick >= SETTLED * last]
        result["bytes_a_tick"] = statistics.linear_regression(*zip(*settled, strict=True)).slope
    return found


def main() -> None:
    """Measure, print a line each, write the raw values."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ticks", type=int, default=100_000, help="length of the run that might grow")
    parser.add_argument("--repetitions", type=int, default=30, help="snapshots of each model")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/memory.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for name in MODELS:
        result = {**snapshots(name, arguments.repetitions), "state_bytes": state_bytes(name)}
        print(
            f"{name}: a snapshot is {result['snapshot_bytes'] / result['run_bytes']:.3f} of model and optimizer, "
            f"{result['snapshot_bytes'] / 1e6:.1f} MB; taken in {1e3 * result['median_s']['take']:.2f} ms, "
            f"{100 * result['take_share_at_default']:.2f} % of the steps between two; "
            f"back in {1e3 * result['median_s']['restore']:.2f} ms; the controller's state "
            f"{result['state_bytes'] / 1e3:.0f} kB"
        )
        results.append(result)
    kinds = grown(arguments.ticks)
    for kind, found in kinds.items():
        print(f"{kind}: {found['bytes_a_tick']:.1f} bytes a tick, state {found['state_bytes'] / 1e3:.0f} kB")
    machine = {"torch": torch.__version__, "machine": platform.machine()}
    written = {"machine": machine, "snapshots": results, "growth": kinds}
    arguments.output.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
