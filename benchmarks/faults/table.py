"""Who survived what: the criterion, and the results as tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import stdev
from typing import NamedTuple

from benchmarks.faults.fault import FAULTS, KILLED
from benchmarks.faults.run import Result

TOLERANCE = 0.02
DEVIATIONS = 2.0


class Verdict(NamedTuple):
    """A result beside its unperturbed twin of the same method and seed.

    Attributes:
        result: what is judged.
        twin: the twin's loss.
        most: the greatest loss that counts as survival: twin + max(2 % of it, 2 standard deviations over the seeds).
    """

    result: Result
    twin: float
    most: float

    @property
    def survived(self) -> bool:
        """Whether the loss is a number and within the bound; a loss below the twin's is no harm."""
        return self.result.loss <= self.most


def judge(results: Iterable[Result]) -> list[Verdict]:
    """Compare every result of a fault with the clean runs of its training and method, where all of those are there."""
    results = list(results)
    clean: dict[tuple[str, str], dict[int, float]] = {}
    for result in results:
        if not result.case.fault and not result.case.steps:
            clean.setdefault((result.case.training, result.method), {})[result.case.seed] = result.loss
    verdicts = []
    for result in results:
        losses = clean.get((result.case.training, result.method), {})
        if result.case.fault and len(losses) >= 5:
            twin = losses[result.case.seed]
            most = twin + max(TOLERANCE * twin, DEVIATIONS * stdev(losses.values()))
            verdicts.append(Verdict(result, twin, most))
    return verdicts


def counts(verdicts: Iterable[Verdict]) -> tuple[int, int]:
    """Return how many survived, of how many."""
    survived = [verdict.survived for verdict in verdicts]
    return sum(survived), len(survived)


def table(verdicts: Sequence[Verdict], methods: Sequence[str], trainings: Sequence[str]) -> str:
    """Write survivors by fault and method, over all trainings, and the totals of each training and of all."""
    rows = {fault: [v for v in verdicts if v.result.case.fault == fault] for fault in FAULTS}
    rows |= {f"**{name}**": [v for v in verdicts if v.result.case.training == name] for name in trainings}
    rows["**all**"] = list(verdicts)
    lines = [f"| survived, of cases | {' | '.join(methods)} |", "|---" * (len(methods) + 1) + "|"]
    lines += [_row(name, found, methods) for name, found in rows.items()]
    # Of what all are scored on.
    common = [v for v in verdicts if v.result.case.fault != KILLED]
    shares = [_share(*counts(v for v in common if v.result.method == method)) for method in methods]
    lines.append(f"| **share, {KILLED} left out** | {' | '.join(shares)} |")
    return "\n".join(lines)


def _row(name: str, verdicts: Sequence[Verdict], methods: Sequence[str]) -> str:
    found = [counts(v for v in verdicts if v.result.method == method) for method in methods]
    return f"| {name} | {' | '.join(f'{survived}/{of}' if of else '-' for survived, of in found)} |"


def _share(survived: int, of: int) -> str:
    return f"{100 * survived / of:.1f} %" if of else "-"


def lost(verdicts: Iterable[Verdict]) -> str:
    """List what was not survived, a line each."""
    lines = []
    for result, twin, most in (v for v in verdicts if not v.survived):
        case = result.case
        loss = "no number" if math.isnan(result.loss) else f"{result.loss:.4g}"
        lines.append(
            f"- {case.training}, seed {case.seed}, {case.fault} at {case.start}: {loss}, "
            f"the twin {twin:.4g}, at most {most:.4g}"
        )
    return "\n".join(lines)
