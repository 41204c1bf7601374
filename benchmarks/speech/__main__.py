"""The command line of the comparison.

    python -m benchmarks.speech FSDD --task digits --minutes 0.5 1
    python -m benchmarks.speech FSDD --task strings --minutes 1 1.5 2 3
    python -m benchmarks.speech FSDD --task speaker --minutes 1 2 3 --augment --decades 4 --centred
    python -m benchmarks.speech KATHLEEN --task sentences --minutes 2 4 8
    python -m benchmarks.speech FSDD --task strings --minutes 1 --horizon 3 --pace 253 --ablate

FSDD and KATHLEEN are folders with train.jsonl and test.jsonl. Runs are taken one after another, each in a process of
its own, and kept in benchmarks/results; one that is already there is not taken again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.speech.clock import contend, in_a_fork
from benchmarks.speech.contenders import COMPARED, CONTENDERS, VARIANTS
from benchmarks.speech.tasks import TASKS, Task, make_task
from echo_reference.data.augmentation import Augmentation
from echo_reference.features import DECADES, LogMel

RESULTS = Path(__file__).parent.parent / "results"


def train(task: Task, name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train one contender."""
    torch.manual_seed(seed)
    contender = CONTENDERS[name](task)
    horizon = arguments.horizon or arguments.minutes[-1]
    run = contend(contender, task, f"{name}, seed {seed}", arguments.minutes, horizon=horizon, pace=arguments.pace)
    return {"contender": name, "seed": seed, "unseen": task.speaker, **run}


def main() -> None:
    """Take the runs that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--task", choices=TASKS, default="strings")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 2, 3], help="marks at which the test is read")
    parser.add_argument("--horizon", type=float, help="minutes over which the rate falls; by default the last mark")
    parser.add_argument("--pace", type=float, help="ms that a step counts, whatever it takes: for equal steps")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=COMPARED)
    parser.add_argument("--ablate", action="store_true", help="instead of them, Echo less or with a feature each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--augment", nargs="?", const="{}", help="augment the clips; as JSON, otherwise than usual")
    parser.add_argument("--decades", type=float, default=DECADES, help="of the features, above their floor")
    parser.add_argument("--centred", action="store_true", help="take each band's mean off the features")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    augmentation = None if arguments.augment is None else Augmentation.model_validate_json(arguments.augment)
    mel = LogMel(decades=arguments.decades, centred=arguments.centred)
    names = [*VARIANTS] if arguments.ablate else arguments.contenders
    path = arguments.results / f"speech-{arguments.task}.json"
    runs = json.loads(path.read_text()) if path.exists() else []
    for seed in arguments.seeds:
        taken = {run["contender"] for run in runs if run["seed"] == seed}
        missing = [name for name in names if name not in taken]
        if not missing:
            continue
        task = make_task(arguments.data, arguments.task, seed, augmentation, mel)
        for name in missing:
            runs.append(in_a_fork(train, task, name, seed, arguments).recv())
            path.write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    main()
