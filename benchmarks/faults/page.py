"""The results as a page."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from benchmarks.faults.fault import FAULTS
from benchmarks.faults.method import METHODS
from benchmarks.faults.run import Result
from benchmarks.faults.table import judge, lost, table


def page(results: Sequence[Result], methods: Sequence[str], trainings: Sequence[str]) -> str:
    """Write tables, what was lost, what going back cost, false interventions, and what each fault does."""
    verdicts = judge(results)
    shown = [method for method in methods if any(v.result.method == method for v in verdicts)]
    watching = [method for method in shown if METHODS[method].watches]
    parts = ["# What a training run survives", table(verdicts, shown, trainings)]
    for method in watching:
        missed = lost([v for v in verdicts if v.result.method == method])
        parts += [f"## Not survived by {method}", missed or "Nothing."]
    parts += ["## What going back costs", "\n".join(f"- {method}: {cost(results, method)}" for method in watching)]
    parts += ["## Interventions in runs without a fault", clean(results)]
    parts += ["## The faults", "\n".join(f"- **{name}**: {fault.text}." for name, fault in FAULTS.items())]
    return "\n\n".join(parts) + "\n"


def cost(results: Sequence[Result], method: str) -> str:
    """Compare steps and time with a fault to those of the twins."""
    mine = [result for result in results if result.method == method and not result.case.steps]
    clean = {(r.case.training, r.case.seed): r for r in mine if not r.case.fault}
    extra = [
        result.iterations / clean[result.case.training, result.case.seed].iterations - 1
        for result in mine
        if result.case.fault and (result.case.training, result.case.seed) in clean
    ]
    return f"{100 * fmean(extra):.0f} % more steps a fault, {100 * max(extra):.0f} % at most" if extra else "not run"


def clean(results: Sequence[Result]) -> str:
    """Count steps without a fault, and list every intervention in them."""
    mine = [result for result in results if METHODS[result.method].watches and not result.case.fault]
    found = [f"- {r.case.training}, seed {r.case.seed}, {r.method}: {text}" for r in mine for text in r.interventions]
    steps = sum(result.iterations for result in mine)
    return "\n".join([f"{len(found)} in {steps} steps of {len(mine)} runs.", *found])
