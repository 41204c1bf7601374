"""What attention costs against the length of the audio: all heads local, half of them (the default), none.

    python -m benchmarks.echo_speed.length [--lengths 500 1000 2000 4000 8000 12000] [--repetitions 3]

Forward and backward of one layer of tiny's width. Fits time ~ length^a over the longer half of the lengths.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.echo_speed import harness
from benchmarks.echo_speed.contenders import SIZES, echo

KINDS = {"all heads local": 6, "half of them": 3, "no head local": 0}


def layer(local_heads: int, length: int) -> Callable[[], None]:
    """Forward and backward of one self-attention."""
    model: Any = echo(SIZES["tiny"]._replace(layers=1), 2 * length, n_audio_local_head=local_heads)
    attention, turner = model.encoder.blocks[0].attention, model.encoder.turner
    x = torch.randn(1, length, SIZES["tiny"].width, requires_grad=True)

    def run() -> None:
        (turning,) = turner(torch.arange(length), None, None)
        attention(x, turning).sum().backward()

    return run


def exponent(lengths: list[int], seconds: list[float]) -> float:
    """Slope of log time over log length."""
    return float(np.polyfit(np.log(lengths), np.log(seconds), 1)[0])


def main() -> None:
    """Measure, print a table, write the raw times."""
    parser = harness.parser(__doc__, "length", 3)
    parser.add_argument("--lengths", type=int, nargs="+", default=[500, 1000, 2000, 4000, 8000, 12000])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    raw: list[dict[str, Any]] = []
    for length in given.lengths:
        times = harness.interleaved({name: layer(n, length) for name, n in KINDS.items()}, given.repetitions)
        raw.append({"length": length, "times_s": times})
        harness.keep(given.output, raw, given.threads)
    print(table(raw))


def table(raw: list[dict[str, Any]]) -> str:
    """Milliseconds at each length, and the exponent of the longer half."""
    lengths, rows, half = [entry["length"] for entry in raw], [], len(raw) // 2
    for name in KINDS:
        seconds = [statistics.median(entry["times_s"][name]) for entry in raw]
        slope = exponent(lengths[half:], seconds[half:])
        rows.append([name, *(f"{1000 * s:.0f}" for s in seconds), f"{slope:.2f}"])
    return harness.table(["ms at", *lengths, "exponent"], rows)


if __name__ == "__main__":
    main()
