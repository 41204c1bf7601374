"""One run: an ordinary training loop, a fault, and a method."""

from __future__ import annotations

import math
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.faults.case import Case
from benchmarks.faults.fault import Injector
from benchmarks.faults.method import METHODS, Method
from benchmarks.faults.training import Training
from benchmarks.faults.trainings import TRAININGS
from homeostat import HomeostatError

MARKS = (0.92, 0.94, 0.96, 0.98, 1.0)
"""Shares of a run at which the held-out loss is read; their mean is the run's result."""
VALIDATE_EVERY = 20
# A method that goes back again and again does not end by itself.
MOST = 4


class Result(NamedTuple):
    """How a run ended.

    Attributes:
        case: what was run.
        method: with what protection.
        loss: mean held-out loss over `MARKS`; NaN where one of them is not finite or the run was given up.
        iterations: steps taken or skipped, those taken again included; the run's length where nothing goes back.
        seconds: of CPU time, the data's preparation left out.
        interventions: of the method, in words.
    """

    case: Case
    method: str
    loss: float
    iterations: int
    seconds: float
    interventions: list[str]


def run(case: Case, method: str, folder: Path | None = None, *, again: bool = False) -> Result:
    """Train once.

    Args:
        case: what.
        method: by name.
        folder: where the method may keep what survives the process.
        again: go on from there, after the process was killed; the fault is over.
    """
    torch.set_num_threads(1)
    training = TRAININGS[case.training](case.seed, **({"steps": case.steps} if case.steps else {}))
    injector = Injector("" if again else case.fault, case.start, case.draw)
    started = time.process_time()
    with warnings.catch_warnings():
        # What a method says of a fault is in the record.
        warnings.simplefilter("ignore")
        protection = METHODS[method].make(training, folder)
        losses = _train(training, injector, protection)
    seconds = time.process_time() - started
    return Result(case, method, _result(training, losses), injector.iteration, seconds, protection.interventions)


def _train(training: Training, injector: Injector, method: Method) -> dict[int, float]:
    losses: dict[int, float] = {}
    marks = {round(mark * training.steps) for mark in MARKS}
    try:
        for batch in training.loader:
            _step(training, injector, method, batch)
            position = training.loader.position
            if position in marks or position % VALIDATE_EVERY == 0:
                losses[position] = training.held_out()
                method.validate(losses[position])
                if not method.restores and _lost(training):
                    return {}
            if injector.iteration >= MOST * training.steps:
                return {}
    except HomeostatError:
        return {}
    return losses


def _step(training: Training, injector: Injector, method: Method, batch: Any) -> None:
    batch = injector("batch", training, batch)
    injector("forward", training)
    loss = injector("loss", training, training.loss(batch))
    method.observe(loss)
    training.optimizer.zero_grad()
    loss.backward()
    injector("backward", training)
    with injector.rates(training):
        method.step()
    training.scheduler.step()
    injector.iteration += 1


def _lost(training: Training) -> bool:
    """Whether a weight is not finite: no later step makes it so, and the rest of the run need not be computed."""
    return not all(bool(parameter.isfinite().all()) for parameter in training.model.parameters())


def _result(training: Training, losses: dict[int, float]) -> float:
    read = [losses.get(round(mark * training.steps), math.nan) for mark in MARKS]
    mean = sum(read) / len(read)
    return mean if math.isfinite(mean) else math.nan
