"""Two knobs that both move both readings: a loop each, which fight, against one coupled law.

    python -m benchmarks.coupled [--seeds 2]

Simulated: two first-order lags of 20 ticks with 5 ticks of dead time, coupled the more the larger c. Each PI is tuned
for its own path alone (SIMC). Trained: the network of `coupled_training`, whose weights' size and relative update
answer to the learning rate and to the weight decay; each PI is again tuned on its own path alone, and is shown to hold
its reading alone. The coupled law in both is `StateFeedback` on a model of the four paths, in the simulation also on a
plant whose gains are 30 % higher and 20 % lower than the model says. Writes figures, raw results and a picture.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.coupled_picture import draw
from benchmarks.coupled_training import loops, train
from homeostat import Profile
from homeostat.errors import HomeostatWarning
from homeostat.laws import PID, LinearModel, MatrixPI, StateFeedback
from homeostat.simulation import SimulatedRun, TwoByTwo, simulate

RESULTS = Path(__file__).parent / "results"
LAG, LATE, TICKS, STEP = 20.0, 5, 600, (1.0, 0.0)
SHOWN = 1.2
# Of the training run: the size of the weights is to fall by a factor of exp(0.25) at tick 300, the update to stay.
TRAINED, ASKED = 800, 300
GOALS = (Profile(points=((0, 1.65), (ASKED, 1.4)), interpolation="step"), -3.3)


def simc(gain: float, lag: float, late: float, closed: float) -> PID:
    """Return SIMC's PI for a lag with dead time, with the closed-loop time constant `closed`."""
    return PID(gain=lag / (gain * (closed + late)), integral_time=min(lag, 4 * (closed + late)))


def simulated(coupling: float) -> Iterator[tuple[str, SimulatedRun]]:
    """Yield the runs of one strength of coupling."""
    plant = TwoByTwo(
        interaction=(coupling, -coupling), time_constants=((LAG, LAG),) * 2, dead_times=(LATE,) * 2, noise=(0.01,) * 2
    )
    other = plant.model_copy(update={"gains": (1.3, 0.8)})
    pi = simc(1.0, LAG, LATE, LATE)
    rate = pi.gain / (pi.integral_time or math.inf)
    # Two PI loops side by side are a MatrixPI without anything beside the diagonal.
    alone = MatrixPI(gain=((pi.gain, 0), (0, pi.gain)), integral=((rate, 0), (0, rate)), tracking_time=LAG)
    coupled = StateFeedback(
        model=LinearModel.first_order(plant.gain, LAG, (LATE, LATE)),
        tolerances=(0.3, 0.3),
        efforts=(1.0, 1.0),
        integral_time=LAG,
        noise=(0.03, 0.03),
        every=1,
    )
    for name, law, real in (("independent", alone, plant), ("coupled", coupled, plant), ("off", coupled, other)):
        yield name, simulate(law, real, ticks=TICKS, setpoint=STEP, low=-3.0, high=3.0)


def simulation_rows() -> tuple[list[dict[str, Any]], dict[str, SimulatedRun]]:
    """Return the figures of every coupling, and the runs to be drawn."""
    rows: list[dict[str, Any]] = []
    shown: dict[str, SimulatedRun] = {}
    for coupling in (0.0, 0.5, 1.0, SHOWN, 1.5):
        for name, run in simulated(coupling):
            errors = np.abs(run.reading - run.setpoint)
            rows.append(
                {
                    "coupling": coupling,
                    "relative_gain": 1 / (1 + coupling**2),
                    "law": name,
                    "iae": float(errors.sum()),
                    "swing": float(np.ptp(run.reading[-200:], axis=0).max()),
                    "travel": float(np.abs(np.diff(run.admitted, axis=0)).sum()),
                }
            )
            if coupling == SHOWN:
                shown[name] = run
    return rows, shown


def training_controls() -> dict[str, list[Any]]:
    """Return the loops of each contender.

    The paths, from steps of both knobs by a factor of 2: size <- rate 0.29 and size <- decay -0.42 in log units with
    time constants of 25 and 60 ticks; update <- decay 0.55 in 40 ticks; update = rate - size at once. A loop decides
    every 10 ticks, which counts as its dead time. The loops of the pairing that fights are asked for 25 ticks, no
    faster than their own paths; those of the other pairing (size by decay, update by rate) for one decision.
    """
    decay = math.exp(-1 / 60)
    model = LinearModel(
        state_matrix=((decay, 0.0), (0.0, 0.0)),
        input_matrix=((0.29 * (1 - decay), -0.42 * (1 - decay)), (1.0, 0.0)),
        output_matrix=((1.0, 0.0), (-1.0, 1.0)),
    )
    coupled = StateFeedback(
        model=model, tolerances=(0.1, 0.1), efforts=(0.25, 0.5), integral_time=30, noise=(0.03, 0.1), every=10
    )
    by_rate, by_decay = simc(0.29, 25, 10, 25), simc(0.55, 40, 10, 25)
    crossed = loops((by_rate, by_decay), GOALS, (0, 1))
    return {
        "size by rate alone": crossed[:1],
        "update by decay alone": crossed[1:],
        "both of these": crossed,
        "the other pairing": loops((simc(-0.42, 60, 10, 10), PID(gain=0.9, integral_time=10)), GOALS, (1, 0)),
        "coupled": loops((coupled,), GOALS),
    }


def training_row(name: str, seed: int, course: dict[str, list[float]]) -> dict[str, Any]:
    """Return the figures of one run, from the tick where the setpoint steps on."""
    goals = {"size": np.where(np.arange(TRAINED) < ASKED, 1.65, 1.4), "update": np.full(TRAINED, -3.3)}
    smooth = {key: np.convolve(course[key], np.ones(20) / 20, "valid") for key in goals}
    return {
        "control": name,
        "seed": seed,
        **{f"iae_{key}": float(np.abs(smooth[key] - goals[key][19:])[ASKED:].sum()) for key in goals},
        **{f"swing_{key}": float(np.ptp(smooth[key][-300:])) for key in goals},
        "loss": mean(course["loss"][-300:]),
        "worst_loss": float(np.convolve(course["loss"][ASKED:], np.ones(20) / 20, "valid").max()),
    }


def tables(simulation: list[dict[str, Any]], training: list[dict[str, Any]]) -> str:
    """Write both tables."""
    lines = [
        f"Simulated, {TICKS} ticks, step of the first setpoint by 1; IAE of both readings, travel of both knobs.",
        "",
        "| coupling | relative gain | law | IAE | swing over the last 200 ticks | travel |",
        "|---|---|---|---|---|---|",
    ]
    names = {"independent": "two PI loops", "coupled": "coupled", "off": "coupled, gains 30 % and -20 % off"}
    lines += [
        f"| {r['coupling']:g} | {r['relative_gain']:.2f} | {names[r['law']]} | {r['iae']:.0f} | {r['swing']:.2f} "
        f"| {r['travel']:.0f} |"
        for r in simulation
    ]
    lines += [
        "",
        f"Trained, {TRAINED} steps, means over seeds, of readings averaged over 20 steps; logarithms. Swing over the "
        "last 300; - where no loop holds the reading.",
        "",
        "| loops | IAE of size | IAE of update | swing of size | swing of update | loss, last 300 | worst loss |",
        "|---|---|---|---|---|---|---|",
    ]
    keys = ("iae_size", "iae_update", "swing_size", "swing_update", "loss", "worst_loss")
    for name in dict.fromkeys(r["control"] for r in training):
        loose = {"size by rate alone": "update", "update by decay alone": "size"}.get(name, "neither")
        means = {key: mean(r[key] for r in training if r["control"] == name) for key in keys}
        shown = {key: f"{value:.{0 if key.startswith('iae') else 2}f}" for key, value in means.items()}
        lines.append(f"| {name} | " + " | ".join("-" if k.endswith(loose) else v for k, v in shown.items()) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print the tables, keep them with the raw results and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2, help="training runs of each contender")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # Loops that fight stand at their limits, and say so.
    warnings.simplefilter("ignore", HomeostatWarning)
    simulation, shown = simulation_rows()
    training: list[dict[str, Any]] = []
    courses: dict[str, dict[str, list[float]]] = {}
    for name, controls in training_controls().items():
        for seed in range(arguments.seeds):
            course = train(controls, TRAINED, seed)
            training.append(training_row(name, seed, course))
            courses.setdefault(name, course)
            sys.stderr.write(f"{training[-1]}\n")
    text = tables(simulation, training)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "coupled.md").write_text(text, encoding="utf-8")
    facts = {"torch": torch.__version__, "python": platform.python_version(), "processor": platform.machine()}
    raw = {**facts, "simulation": simulation, "training": training}
    (RESULTS / "coupled.json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(text)
    trained = {"independent": courses["both of these"], "coupled": courses["coupled"]}
    draw(shown, trained, GOALS, RESULTS / "coupled.svg")


if __name__ == "__main__":
    main()
