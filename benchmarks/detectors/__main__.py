"""False alarms of detectors on clean trainings, and how soon they find a fault that is put into the recorded losses.

Records the trainings first (about ten minutes of one core), or takes those kept in `--traces`; then replays them as a
guard would: every reading is compared with the detector's screen, and the due ones, and those outside, are judged.

    python -m benchmarks.detectors [--traces FOLDER] [--output benchmarks/results/detectors.json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.detectors.traces import Trace, load
from homeostat.guards.detector import Detector
from homeostat.guards.detectors import Divergence, Shift, Spike

DETECTORS: dict[str, Detector] = {"Spike": Spike(), "Shift": Shift(), "Divergence": Divergence()}
CADENCES = (1, 4, 10)
# Factors on the loss, for one step and from a step on.
FACTORS = (1.5, 2.0, 3.0, 5.0, 10.0)
# Where faults are put in, as shares of a training.
PLACES = (0.1, 0.3, 0.5, 0.7, 0.9)
LONGEST = 200


def findings(detector: Detector, losses: Sequence[float], every: int, state: Any = None) -> Iterator[int]:
    """Yield the steps at which a guard of this cadence finds a fault, from the first reading or from `state` on."""
    state, last = detector.init() if state is None else state, -1
    least, greatest = detector.screen(state)
    for step, loss in enumerate(losses):
        if step % every == 0 or not least <= loss <= greatest:
            finding, state = detector.update(state, loss, step - last)
            last = step
            if finding.faulty:
                yield step
                state = detector.rest(state)
            least, greatest = detector.screen(state)


def false_alarms(traces: dict[str, Trace]) -> dict[str, Any]:
    """Count findings in clean trainings, by detector, training and cadence."""
    return {
        name: {
            title: {every: len(list(findings(detector, trace[:, 0].tolist(), every))) for every in CADENCES}
            for title, trace in traces.items()
        }
        for name, detector in DETECTORS.items()
    }


def margin(traces: dict[str, Trace], every: int) -> float:
    """Return the share of the limits of `Spike` at which the first false alarm comes, all of them lowered together."""
    usual = Spike()
    for share in np.arange(0.9, 0.0, -0.1).tolist():
        detector = Spike(
            threshold=usual.threshold * share, rise=1 + (usual.rise - 1) * share, tail=max(1.0, usual.tail * share)
        )
        if any(next(findings(detector, trace[:, 0].tolist(), every), None) is not None for trace in traces.values()):
            return float(share)
    return 0.0


def delays(traces: dict[str, Trace]) -> dict[str, Any]:
    """Return the share of faults that were found, and the median delay in steps, by detector, kind and factor."""
    found: dict[str, Any] = {}
    for name, detector in DETECTORS.items():
        waits = [wait for trace in traces.values() for wait in _waits(detector, trace[:, 0])]
        for kind, factor in dict.fromkeys((kind, factor) for kind, factor, _ in waits):
            steps = [step for *which, step in waits if which == [kind, factor]]
            seen = [step for step in steps if step is not None]
            middle = float(np.median(seen)) if seen else None
            found.setdefault(name, {}).setdefault(kind, {})[factor] = (len(seen) / len(steps), middle)
    return found


def _waits(detector: Detector, losses: Trace) -> Iterator[tuple[str, float, int | None]]:
    """Put faults into a training; yield kind, factor and delay of each, None where it was not found."""
    places = [int(place * len(losses)) for place in PLACES]
    state = detector.init()
    for step, loss in enumerate(losses.tolist()):
        if step in places:
            for factor in FACTORS:
                after = losses[step : step + LONGEST] * factor
                once = np.concatenate([after[:1], losses[step + 1 : step + LONGEST]])
                yield "one step", factor, next(findings(detector, once.tolist(), 1, state), None)
                yield "lasting", factor, next(findings(detector, after.tolist(), 1, state), None)
        finding, state = detector.update(state, loss)
        state = detector.rest(state) if finding.faulty else state


def table(results: dict[str, Any]) -> str:
    """Return the results in words and tables."""
    lines = [
        "# Detectors on clean trainings and on faults",
        "",
        f"{results['steps']} clean steps. False alarms where every reading, every 4th or every 10th enters the "
        "statistics (all are compared with the screen):",
        "",
        "| training | steps | first, last loss | " + " | ".join(DETECTORS) + " |",
        "|---|---|---|" + "---|" * len(DETECTORS),
    ]
    for title, (steps, first, final) in results["trainings"].items():
        counts = (", ".join(str(n) for n in results["false alarms"][name][title].values()) for name in DETECTORS)
        lines.append(f"| {title} | {steps} | {first:.2g}, {final:.2g} | {' | '.join(counts)} |")
    lines += [
        "",
        "Margin of `Spike`: share of its limits at which the first false alarm comes (0.9 if not below), by cadence: ",
    ]
    lines[-1] += ", ".join(f"{every}: {share:.2g}" for every, share in results["margin"].items()) + "."
    lines += [
        "",
        f"Faults found within {LONGEST} steps, and the median delay in steps (cadence 1). Ten times a loss that ",
    ]
    lines[-1] += "is near zero, as many of these are, is no fault that anybody wants found; it counts all the same."
    lines += [""]
    lines += ["| detector | fault | " + " | ".join(f"loss x {factor:g}" for factor in FACTORS) + " |"]
    lines += ["|---|---|" + "---|" * len(FACTORS)]
    for name, kinds in results["delays"].items():
        for kind, by_factor in kinds.items():
            cells = (f"{share:.0%}" + ("" if wait is None else f", {wait:g}") for share, wait in by_factor.values())
            lines.append(f"| {name} | {kind} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Record, replay and write."""
    parser = argparse.ArgumentParser(description="False alarms and delays of detectors.")
    parser.add_argument("--traces", type=Path, default=Path("runs/detectors"), help="folder of recorded trainings")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/detectors.json"))
    given = parser.parse_args(arguments)
    traces = load(given.traces)
    results = {
        "steps": sum(map(len, traces.values())),
        "trainings": {
            title: (len(trace), float(np.median(trace[:20, 0])), float(np.median(trace[-200:, 0])))
            for title, trace in traces.items()
        },
        "false alarms": false_alarms(traces),
        "margin": {every: margin(traces, every) for every in CADENCES},
        "delays": delays(traces),
    }
    given.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    given.output.with_suffix(".md").write_text(table(results), encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
