"""The trainings of the suite, by name."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.faults.training import CNN, GPT, Training


def _speech(seed: int, **options: int) -> Training:
    from benchmarks.faults.speech import Speech  # noqa: PLC0415 - its import takes seconds

    return Speech(seed, **options)


TRAININGS: dict[str, Callable[..., Training]] = {"CNN": CNN, "GPT": GPT, "Echo": _speech}
"""Each made of a seed, of weights, dropout and the order of the data, and of `steps`, if not its own number."""
