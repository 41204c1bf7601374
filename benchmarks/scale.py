"""What a controller adds on 16 to 16384 ranks: collectives, bytes and work on the host, counted and as formulas.

One process plays rank 0 of torch's fake process group, in which every rank says what this one says; what goes over the
wire is counted by a dispatch mode, with a controller less without. The model is a stack of linear layers with AdamW,
replicated (one sum of all gradients) or sharded (`fully_shard` over 16 ranks, and replicas of that), the controller the
recipe `steady`. The time on the wire is a model's, not a measurement: see `expected_us`.

Host times are the process's own on one thread, of `optimizer.step()` in steps that decide, with a controller less
without, one step of each in turn. Writes its raw counts and times as JSON, and a table as Markdown beside.

    python -m benchmarks.scale [--ranks 16 128 1024 16384] [--output benchmarks/results/scale]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode

from homeostat import Homeostat

RANKS = (16, 64, 256, 1024, 4096, 16384)
LAYERS, WIDTH, TICKS, EVERY = 4, 64, 50, 5
SHARDS = 16
# Latency of one hop between two machines, launch included, and bytes a second between them: a good network's.
HOP_US, BYTES_PER_US = 10.0, 10_000.0


class Wire(TorchDispatchMode):
    """Counts collectives by their bytes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sent: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace in {"c10d", "_c10d_functional"} and not {"wait", "wrap"} & set(func.name().split("_")):
            given = args[0] if isinstance(args[0], Tensor) else args[0][0]
            self.sent[given.nbytes if isinstance(given, Tensor) else 0] += 1
        return func(*args, **(kwargs or {}))


class Run(NamedTuple):
    """One model at work."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    homeostat: Homeostat | None

    def step(self) -> float:
        """Train on one batch; returns the seconds that the optimizer's step took."""
        loss: Tensor = self.model(torch.randn(4, WIDTH)).square().mean()
        if self.homeostat is not None:
            self.homeostat.observe(loss=loss)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if not isinstance(self.model, FSDPModule):
            # In one bucket, as `DistributedDataParallel` does, which the fake group hands no result to wait for.
            gradients = [p.grad.flatten() for p in self.model.parameters() if p.grad is not None]
            dist.all_reduce(torch.cat(gradients), op=dist.ReduceOp.AVG)
        start = time.process_time()
        self.optimizer.step()
        return time.process_time() - start


@contextmanager
def pretended(ranks: int) -> Iterator[None]:
    """Be rank 0 of so many ranks that all say the same, so that a sum is a multiple."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=ranks)
    send = dist.all_reduce

    def all_reduce(tensor: Tensor, op: Any = dist.ReduceOp.SUM, *others: Any, **options: Any) -> Any:
        work = send(tensor, op, *others, **options)
        if op == dist.ReduceOp.SUM:
            tensor.mul_(ranks)
        return work

    try:
        with mock.patch.object(dist, "all_reduce", all_reduce):
            yield
    finally:
        dist.destroy_process_group()


def begin(sharing: str, *, steer: bool) -> Run:
    """Build the model, shared as named, with a controller or without."""
    torch.manual_seed(0)
    model: nn.Module = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)))
    if sharing == "fully_shard":
        shape = (dist.get_world_size() // SHARDS, SHARDS)
        fully_shard(model, mesh=init_device_mesh("cpu", shape, mesh_dim_names=("replicas", "shards")))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    return Run(model, optimizer, Homeostat.from_recipe("steady").attach(model, optimizer) if steer else None)


def measure(sharing: str, ranks: int) -> dict[str, Any]:
    """Count what `TICKS` ticks send, and time the steps that decide."""
    with pretended(ranks):
        pair = begin(sharing, steer=True), begin(sharing, steer=False)
        wires = Wire(), Wire()
        times: tuple[list[float], list[float]] = [], []
        for _ in range(TICKS):
            for run, wire in zip(pair, wires, strict=True):
                with wire:
                    run.step()
        pair = begin(sharing, steer=True), begin(sharing, steer=False)
        for tick in range(TICKS):
            taken = [run.step() for run in pair]
            if tick % EVERY == 0 and tick > 2 * EVERY:
                for seconds, kept in zip(taken, times, strict=True):
                    kept.append(seconds)
        for run in pair:
            if run.homeostat is not None:
                run.homeostat.detach()
    added = wires[0].sent - wires[1].sent
    return {
        "sharing": sharing,
        "ranks": ranks,
        "collectives": added.total(),
        "bytes": sum(size * count for size, count in added.items()),
        "by_size": dict(sorted(added.items())),
        "models_own": wires[1].sent.total(),
        "host_us": 1e6 * (statistics.median(times[0]) - statistics.median(times[1])),
    }


def expected_us(ranks: int, size: float) -> float:
    """Return the time of one sum over the ranks in a tree: 2 ceil(log2 n) hops and twice the bytes, up and down."""
    return 2 * math.ceil(math.log2(ranks)) * HOP_US + 2 * size / BYTES_PER_US


def page(rows: list[dict[str, Any]]) -> str:
    """Return the table."""
    lines = [
        "# What a controller adds on many ranks\n",
        "`python -m benchmarks.scale` wrote this. Counted in one process that plays rank 0 of a fake process group, "
        f"over {TICKS} ticks of the recipe `steady` on {2 * LAYERS} tensors, with the controller less without. Host: "
        f"process time of a step that decides (every {EVERY} ticks), median, at a load average of "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores. Wire: expected and not measured, from 2 ceil(log2 n) "
        f"hops of {HOP_US:g} µs and twice the bytes at {BYTES_PER_US / 1000:g} GB/s, for all collectives of the "
        f"{TICKS} ticks together.\n",
        f"| model | ranks | collectives in {TICKS} ticks | bytes | the model's own collectives | host, µs a decision | "
        f"wire, ms in {TICKS} ticks |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        wire = sum(count * expected_us(row["ranks"], int(size)) for size, count in row["by_size"].items()) / 1000
        lines.append(
            f"| {row['sharing']} | {row['ranks']} | {row['collectives']} | {row['bytes']} | {row['models_own']} | "
            f"{row['host_us']:.0f} | {wire:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Count, time, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=RANKS)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "scale")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # Without its neighbours' words a sharded model's output is a view, of which nobody here keeps a part.
    warnings.simplefilter("ignore")
    rows = [measure(sharing, ranks) for sharing in ("replicated", "fully_shard") for ranks in arguments.ranks]
    text = page(rows)
    print(text)
    arguments.output.with_suffix(".md").write_text(text)
    arguments.output.with_suffix(".json").write_text(json.dumps({"rows": rows, "torch": torch.__version__}) + "\n")


if __name__ == "__main__":
    main()
