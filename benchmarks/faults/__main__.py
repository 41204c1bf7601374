"""What a training run survives: the same 60 faults for the bare loop, the usual and the published means, and ours.

    python -m benchmarks.faults [--methods ...] [--trainings ...] [--faults ...] [--workers N] [--again] [--clean]

Three trainings, 20 faults each, at times drawn from a seed. Survived is a held-out loss, averaged over the end of the
run, of at most the unperturbed twin's (same method, same seed) and the greater of 2 % of it and twice the standard
deviation over five seeds. Finished runs are kept in benchmarks/results/faults.jsonl and not run a second time, unless
`--again`; the table is made of all that are there. With `--clean`, 20 000 steps without a fault are run instead, in
which every intervention is a false one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from benchmarks.faults.case import Case, cases, clean_runs, twins
from benchmarks.faults.fault import FAULTS, KILLED
from benchmarks.faults.killed import run_killed
from benchmarks.faults.method import METHODS
from benchmarks.faults.page import page
from benchmarks.faults.run import Result, run
from benchmarks.faults.trainings import TRAININGS

RESULTS = Path(__file__).parents[1] / "results"
RAW, PAGE = RESULTS / "faults.jsonl", RESULTS / "faults.md"
Job = tuple[Case, str]


def measure(job: Job) -> Result:
    """Run one case with one method."""
    case, method = job
    return run_killed(case, method) if case.fault == KILLED else run(case, method)


def load(path: Path) -> dict[Job, Result]:
    """Read the finished runs; of several of one kind the last counts."""
    if not path.is_file():
        return {}
    found = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    results = [Result(*line)._replace(case=Case(*line[0])) for line in found]
    return {(result.case, result.method): result for result in results}


def save(path: Path, results: dict[Job, Result]) -> None:
    """Write the finished runs, one a line, in an order that does not depend on when they were run."""
    lines = [json.dumps(results[job]) for job in sorted(results, key=lambda job: (job[0].training, job[1], job[0]))]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def jobs(arguments: argparse.Namespace) -> list[Job]:
    """List what is asked for; killing a process is no case for a method that does not resume."""
    if arguments.clean:
        watching = [method for method in arguments.methods if METHODS[method].watches]
        return [(case, method) for case in clean_runs() for method in watching]
    asked = [(case, method) for name in arguments.trainings for method in arguments.methods
             for case in [*twins(name), *cases(name)] if not case.fault or case.fault in arguments.faults]  # fmt: skip
    return [(case, method) for case, method in asked if case.fault != KILLED or METHODS[method].resumes]


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--trainings", nargs="+", choices=("CNN", "GPT", "Echo"), default=["CNN", "GPT", "Echo"])
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--workers", type=int, default=1, help="runs at a time, one core each")
    parser.add_argument("--again", action="store_true", help="run also what is finished")
    parser.add_argument("--clean", action="store_true", help="20 000 steps without a fault, with ours")
    parser.add_argument("--raw", type=Path, default=RAW, help="where finished runs are kept")
    arguments = parser.parse_args(argv)
    results = load(arguments.raw)
    asked = [job for job in jobs(arguments) if arguments.again or job not in results]
    with ProcessPoolExecutor(arguments.workers) as pool:
        for future in as_completed([pool.submit(measure, job) for job in asked]):
            result = future.result()
            # Added at once: several of these processes may run side by side.
            with arguments.raw.open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(result)}\n")
            sys.stderr.write(f"{result}\n")
    results = load(arguments.raw)
    if not asked:
        save(arguments.raw, results)
    text = page(list(results.values()), list(METHODS), list(TRAININGS))
    if arguments.raw == RAW:
        PAGE.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
