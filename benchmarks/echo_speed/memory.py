"""Peak memory of a training step, Echo beside Hugging Face's Whisper, with and without activation checkpointing.

    python -m benchmarks.echo_speed.memory [--sizes tiny base] [--clips 4]

Every measurement is a process of its own, whose peak is its own; what it needs before the step is told apart.
"""

from __future__ import annotations

import multiprocessing
import resource

import torch

from benchmarks.echo_speed import harness
from benchmarks.echo_speed.contenders import SIZES, Batch, echo, hugging_face, training_step

MIB = 1024


def peak(size: str, kind: str, checkpointing: bool, clips: int) -> tuple[float, float]:
    """MiB that the process held at most before its first step, and in all."""
    torch.set_num_threads(1)
    model = {"Whisper": hugging_face, "Echo": echo}[kind](SIZES[size], 3000)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    step = training_step(model, Batch.make(clips, 3000, 96))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    step()
    return before / MIB, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = harness.parser(__doc__, "memory", 1)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--clips", type=int, default=4)
    given = parser.parse_args()
    results, rows = [], []
    for size in given.sizes:
        for checkpointing in (False, True):
            found = {}
            for kind in ("Whisper", "Echo"):
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    found[kind] = pool.apply(peak, (size, kind, checkpointing, given.clips))
                results.append({"size": size, "model": kind, "checkpointing": checkpointing, "mib": found[kind]})
            whole = [f"{found[kind][1]:.0f}" for kind in found]
            rows.append([size, checkpointing, *whole, f"{found['Echo'][1] / found['Whisper'][1]:.2f}"])
            harness.keep(given.output, results, 1)
    print(harness.table(["size", "checkpointing", "Whisper, MiB", "Echo, MiB", "ratio"], rows))


if __name__ == "__main__":
    main()
