"""Training one contender against the clock."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch
from torch import nn

from benchmarks.speech.tasks import Task
from echo_reference.metrics import score


class Average:
    """An exponential average of a model's weights, which can stand in for them."""

    def __init__(self, model: nn.Module, keep: float = 0.98) -> None:
        self._weights = [p.detach() for p in model.parameters()]
        self._means = [w.clone() for w in self._weights]
        self._keep = keep

    def update(self) -> None:
        """Take in the weights after a step."""
        torch._foreach_lerp_(self._means, self._weights, 1 - self._keep)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average in the model's place for a while."""
        kept = [w.clone() for w in self._weights]
        torch._foreach_copy_(self._weights, self._means)
        yield
        torch._foreach_copy_(self._weights, kept)


class Contender(Protocol):
    """A model in training."""

    average: Average

    def step(self, number: int, progress: float) -> None:
        """Take training step `number`, with `progress` in [0, 1] of the time gone."""

    def read(self) -> dict[str, list[str]]:
        """Transcribe the test set, by each way of decoding."""


def rate_factor(step: int, warmup: int, progress: float) -> float:
    """Warm up by steps, then fall linearly to a twentieth with the time."""
    return min(1.0, (step + 1) / warmup) * (1.0 - 0.95 * progress)


def in_a_fork(work: Callable[..., Any], *given: Any) -> Connection:
    """Do work in a child, which shares what is in memory; its result will come through the connection."""
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def send() -> None:
        sender.send(work(*given))

    context.Process(target=send).start()
    sender.close()
    return receiver


def contend(
    contender: Contender,
    task: Task,
    label: str,
    minutes: Sequence[float],
    *,
    horizon: float,
    pace: float | None = None,
) -> dict[str, Any]:
    """Train a contender and judge it at each mark.

    Args:
        contender: what learns.
        task: what it learns.
        label: what to call it while it does.
        minutes: marks, of CPU time of this process spent in training.
        horizon: minutes over which the learning rate falls; those after the last mark are not trained.
        pace: milliseconds that each step counts, whatever it took: for equal steps, on a machine however busy.
    """
    spent, taken, number, steps, readings = 0.0, 0.0, 0, [], []
    for mark in minutes:
        while spent < 60 * mark:
            started = time.process_time()
            contender.step(number, spent / (60 * horizon))
            contender.average.update()
            taken += time.process_time() - started
            number += 1
            spent = taken if pace is None else number * pace / 1000
        with contender.average.in_place():
            readings.append(in_a_fork(_read, contender, task, f"{label:<28} {mark:>4g} min {number:>6} steps"))
        steps.append(number)
    curve = [
        {"minutes": mark, "steps": count, **reading.recv()}
        for mark, count, reading in zip(minutes, steps, readings, strict=True)
    ]
    return {"horizon": horizon, "pace": pace, "ms_per_step": 1000 * taken / number, "curve": curve}


def _read(contender: Contender, task: Task, label: str) -> dict[str, dict[str, float]]:
    os.nice(10)  # the training goes on meanwhile
    scores = {kind: score(task.texts, texts) for kind, texts in contender.read().items()}
    shown = ", ".join(f"{kind} {100 * s.wer:.2f} % (CER {100 * s.cer:.2f} %)" for kind, s in scores.items())
    print(f"{label}  WER {shown}", file=sys.stderr, flush=True)
    return {rate: {kind: getattr(s, rate) for kind, s in scores.items()} for rate in ("wer", "cer")}
