"""The tables and the picture of the comparison, from the raw results.

python -m benchmarks.speech.report
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any, TypeAlias

from benchmarks.speech.contenders import COMPARED, VARIANTS
from benchmarks.speech.picture import common_marks, draw
from benchmarks.speech.tasks import TASKS

RESULTS = Path(__file__).parent.parent / "results"
ABLATED = ("strings", 1.0)
"""Where features are taken away or added: the task, and the minute at which the test is read."""

Run: TypeAlias = dict[str, Any]


def load(folder: Path = RESULTS) -> dict[str, list[Run]]:
    """The runs of each task that has any."""
    paths = {task: folder / f"speech-{task}.json" for task in TASKS}
    return {task: json.loads(path.read_text()) for task, path in paths.items() if path.exists()}


def rates(runs: Sequence[Run], kind: str, minutes: float, rate: str = "wer") -> list[float]:
    """Error rates in per cent of some runs at a mark."""
    points = [point for run in runs for point in run["curve"] if point["minutes"] == minutes]
    return [100 * point[rate][kind] for point in points if kind in point.get(rate, {})]


def comparison(runs: Sequence[Run], rate: str = "wer") -> str:
    """One row for each contender and way of decoding: mean over the seeds, least and greatest."""
    marks = common_marks(runs)
    lines = [
        f"| contender | seeds | ms a step | {' | '.join(f'{m:g} min' for m in marks)} |",
        "|---" * (len(marks) + 3) + "|",
    ]
    for name in COMPARED:
        own = [run for run in runs if run["contender"] == name]
        for kind in own[0]["curve"][-1]["wer"] if own else ():
            cells = " | ".join(spread(rates(own, kind, mark, rate)) for mark in marks)
            pace = f"{mean(run['ms_per_step'] for run in own):.0f}"
            lines.append(f"| {name}, {kind} | {len(own)} | {pace} | {cells} |")
    return "\n".join(lines)


def ablation(runs: Sequence[Run]) -> str:
    """One row for each feature taken away or added, beside the whole Echo with its spread over seeds."""
    minutes = ABLATED[1]
    lines = [
        "| Echo | seeds | steps | greedy | ctc | joint |",
        "|---|---|---|---|---|---|",
    ]
    for name in VARIANTS:
        own = [run for run in runs if run["contender"] == name]
        if not own:
            continue
        steps = mean(point["steps"] for run in own for point in run["curve"] if point["minutes"] == minutes)
        cells = " | ".join(spread(rates(own, kind, minutes)) for kind in ("greedy", "ctc", "joint"))
        lines.append(f"| {name.removeprefix('echo ')} | {len(own)} | {steps:.0f} | {cells} |")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Mean (least to greatest), or a dash."""
    if not values:
        return "-"
    middle = f"{mean(values):.2f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Write both beside the raw results."""
    tasks = load()
    parts = [f"## {task}\n\n{comparison(runs)}\n" for task, runs in tasks.items()]
    if "sentences" in tasks:
        parts.append(f"## sentences, CER\n\n{comparison(tasks['sentences'], 'cer')}\n")
    parts.append(f"## ablation\n\n{ablation(tasks[ABLATED[0]])}\n")
    print("\n".join(parts))
    (RESULTS / "speech.svg").write_text(draw(tasks), encoding="utf-8")


if __name__ == "__main__":
    main()
