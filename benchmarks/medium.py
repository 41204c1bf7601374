"""The "medium" reference at full size on a CPU: build, save, load, one training step and a decode of 30 s of audio.

Each stage is a process of its own, whose peak memory is its own. Writes what it measured as JSON.

    python benchmarks/medium.py [--threads 1] [--tokens 32] [--output benchmarks/results/medium.json]
    python benchmarks/medium.py --stages "build and save" "step"
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from echo_reference.config import EchoConfig
from echo_reference.model import Echo

FRAMES, LABELS = 3000, 64
GIB = 2**30


def audio() -> Tensor:
    """30 s of noise."""
    return torch.randn(1, 80, FRAMES, generator=torch.Generator().manual_seed(0))


def labels() -> Tensor:
    """A transcript of arbitrary tokens."""
    return torch.randint(50257, (1, LABELS), generator=torch.Generator().manual_seed(1))


def build_and_save(folder: str, tokens: int) -> dict[str, Any]:
    """Draw every weight and write them in shards."""
    del tokens
    started = time.perf_counter()
    model = Echo(EchoConfig())
    model.apply_initialization()
    built = time.perf_counter()
    model.save_pretrained(folder, max_shard_size="1GB")
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds to build": built - started,
        "seconds to save": time.perf_counter() - built,
        "shards": len(list(Path(folder).glob("*.safetensors"))),
    }


def load_and_decode(folder: str, tokens: int) -> dict[str, Any]:
    """Read them again and write a transcript greedily, whatever it says."""
    started = time.perf_counter()
    model = Echo.from_pretrained(folder).eval()
    loaded = time.perf_counter()
    written = model.generate(audio(), max_new_tokens=tokens, min_new_tokens=tokens)
    seconds = time.perf_counter() - loaded
    assert written.shape == (1, tokens + 1)
    return {"seconds to load": loaded - started, "tokens": tokens, "seconds to decode": seconds}


def step(folder: str, tokens: int) -> dict[str, Any]:
    """One AdamW step on one clip, with activation checkpointing."""
    del tokens
    return _step(folder, checkpointing=True)


def step_without_checkpointing(folder: str, tokens: int) -> dict[str, Any]:
    """The same, keeping every activation."""
    del tokens
    return _step(folder, checkpointing=False)


def _step(folder: str, *, checkpointing: bool) -> dict[str, Any]:
    model = Echo.from_pretrained(folder, checkpointing=checkpointing).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, foreach=False)
    started = time.perf_counter()
    loss = model(audio(), labels=labels()).loss
    forward = time.perf_counter()
    loss.backward()
    backward = time.perf_counter()
    optimizer.step()
    done = time.perf_counter()
    assert torch.isfinite(loss.detach())
    return {
        "loss": loss.item(),
        "seconds": done - started,
        "forward": forward - started,
        "backward": backward - forward,
        "optimizer": done - backward,
    }


STAGES: dict[str, Callable[[str, int], dict[str, Any]]] = {
    "build and save": build_and_save,
    "load and decode": load_and_decode,
    "step": step,
    "step without checkpointing": step_without_checkpointing,
}


def measure(stage: str, folder: str, tokens: int, threads: int) -> dict[str, Any]:
    """What a stage returns, with its peak memory and its processor time."""
    torch.set_num_threads(threads)
    measured = STAGES[stage](folder, tokens)
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = used.ru_maxrss * 1024 / GIB
    return {**measured, "processor seconds": used.ru_utime + used.ru_stime, "peak GiB": round(peak, 2)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="The medium reference at full size.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=32, help="tokens to decode")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/medium.json"))
    given = parser.parse_args(arguments)
    context = multiprocessing.get_context("spawn")
    results: dict[str, Any] = {"machine": platform.processor(), "torch": torch.__version__, "threads": given.threads}
    with tempfile.TemporaryDirectory() as folder:
        for stage in dict.fromkeys(["build and save", *given.stages]):
            with context.Pool(1) as pool:
                results[stage] = pool.apply(measure, (stage, folder, given.tokens, given.threads))
            print(stage, results[stage], flush=True)
            given.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
