"""Which faults strike which run, and when: drawn once from a seed, the same for every method."""

from __future__ import annotations

import random
from typing import NamedTuple

from benchmarks.faults.fault import FAULTS, applies
from benchmarks.faults.trainings import TRAININGS

SEEDS = (0, 1, 2, 3, 4)
COUNT = 20
DRAWN_WITH = 5
# At its very beginning a run has nothing to lose, and at its end no time to recover for any method.
EARLIEST, LATEST = 0.05, 0.85


class Case(NamedTuple):
    """What is run.

    Attributes:
        training: by name.
        seed: of the training.
        fault: by name; empty for the unperturbed twin.
        start: iteration, or position in the data, at which the fault begins.
        draw: seed of what the fault draws.
        steps: length of the run; 0 for the training's own.
    """

    training: str
    seed: int
    fault: str = ""
    start: int = 0
    draw: int = 0
    steps: int = 0


def twins(training: str) -> list[Case]:
    """Return the runs without a fault, one a seed."""
    return [Case(training, seed) for seed in SEEDS]


def clean_runs() -> list[Case]:
    """Return longer runs without a fault, on seeds of their own: 20 000 steps in which there is nothing to answer."""
    lengths = {"CNN": (5000, 3000, 1000, 500, 500), "GPT": (4000, 2000, 1000, 500, 500), "Echo": (1200, 400, 400)}
    return [Case(name, 100 + i, steps=steps) for name, found in lengths.items() for i, steps in enumerate(found)]


def cases(training: str) -> list[Case]:
    """Return `COUNT` faults: each that applies once, then as many drawn a second time."""
    random_ = random.Random(f"{DRAWN_WITH} {training}")
    example = TRAININGS[training](0)
    faults = [fault for fault in FAULTS if applies(fault, example)]
    faults += random_.sample(faults, COUNT - len(faults))
    first, last = round(EARLIEST * example.steps), round(LATEST * example.steps)
    return [
        Case(training, SEEDS[i % len(SEEDS)], fault, random_.randint(first, last), random_.randrange(1000))
        for i, fault in enumerate(faults)
    ]
