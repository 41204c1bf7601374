"""A training step of Echo beside Whisper's of Hugging Face and OpenAI: 30 s, 3 s, time divided by 4, whole window.

    python -m benchmarks.echo_speed.training_step [--sizes tiny base] [--cases "30 s" "3 s"] [--threads 1]

A step is forward, backward and AdamW. Echo has everything on: rotations, biases, a window of 64, convolution, CTC.
Also prints where Echo's and Whisper's time goes, and the share of the machine's own matrix product that a step reaches.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.echo_speed import harness
from benchmarks.echo_speed.contenders import SIZES, Batch, Size, echo, hugging_face, openai, training_step

# Clips, frames, tokens.
CASES = {"30 s": (1, 3000, 96), "3 s": (8, 300, 16)}
MODELS: dict[str, Callable[[Size, int], nn.Module]] = {
    "Whisper, Hugging Face": hugging_face,
    "Whisper, OpenAI": openai,
    "Echo": echo,
    "Echo, time divided by 4": lambda size, frames: echo(size, frames, subsampling=4),
    "Echo, whole window": lambda size, frames: echo(size, frames, attention_window=frames / 2),
}
# Which operators make up a part; the first that fits counts.
PARTS = {
    "attention": ("scaled_dot_product", "bmm", "baddbmm", "softmax"),
    "matrix products": ("mm", "addmm"),
    "convolutions": ("conv",),
    "CTC": ("ctc",),
}


def peak(seconds: float = 0.5) -> float:
    """Operations a second of a matrix product of 1024 x 1024, the quickest of several."""
    a, best, end = torch.randn(1024, 1024), 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.process_time()
        a @ a
        best = max(best, 2 * 1024**3 / (time.process_time() - start))
    return best


def by_part(step: Callable[[], None]) -> dict[str, float]:
    """Share of a step's time in each part; the rest is what moves or maps elements, and the optimizer."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    spent = dict.fromkeys([*PARTS, "rest"], 0.0)
    for event in profiler.key_averages():
        found = (part for part, words in PARTS.items() if any(word in event.key for word in words))
        spent[next(found, "rest")] += event.self_cpu_time_total
    whole = sum(spent.values())
    return {part: value / whole for part, value in spent.items()}


def operations(step: Callable[[], None]) -> int:
    """Multiplications and additions of a step's products, as PyTorch counts them."""
    with FlopCounterMode(display=False) as counter:
        step()
    counted: int = counter.get_total_flops()
    return counted


def measure(size: str, case: str, repetitions: int, fastest: float) -> dict[str, Any]:
    """Times of all contenders, and a closer look at two."""
    clips, frames, tokens = CASES[case]
    batch = Batch.make(clips, frames, tokens)
    torch.manual_seed(0)
    steps = {name: training_step(make(SIZES[size], frames), batch) for name, make in MODELS.items()}
    times = harness.interleaved(steps, repetitions)
    looked_at = ("Whisper, Hugging Face", "Echo")
    seconds = {name: statistics.median(times[name]) for name in looked_at}
    parts = {name: by_part(steps[name]) for name in looked_at}
    share = {name: operations(steps[name]) / seconds[name] / fastest for name in looked_at}
    return {"size": size, "case": case, "times_s": times, "parts": parts, "share_of_product_speed": share}


def main() -> None:
    """Measure, print a table a size and case, write the raw times."""
    parser = harness.parser(__doc__, "training_step", 20)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    fastest, results = peak(), []
    for size in given.sizes:
        for case in given.cases:
            found = measure(size, case, given.repetitions, fastest)
            results.append(found)
            times = found["times_s"]
            reference = times["Whisper, Hugging Face"]
            rows = [
                [name, f"{1000 * statistics.median(taken):.0f}", harness.ratio(taken, reference)]
                for name, taken in times.items()
            ]
            print(f"\n{size}, {case}, {given.threads} threads, {given.repetitions} repetitions\n")
            print(harness.table(["model", "ms", "over Hugging Face's"], rows), flush=True)
            print(found["parts"], found["share_of_product_speed"])
            harness.keep(given.output, results, given.threads)


if __name__ == "__main__":
    main()
