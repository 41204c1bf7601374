"""Auto-tuning on random stable plants against the best PID there is for each.

    python -m benchmarks.autotuning [--plants N] [--seed S] [--workers W]

Plants of first and second order (damping 0.5 to 1.5) with dead times from none to the time constant, gains of either
sign over two decades, half of them with noise, are drawn by the seed. On each an `AutoTune` performs its relay test,
tunes itself and steers on: through a step of the setpoint and then one of the load. The integrated absolute error
of the noise-free reading over both is divided by the least that any PID reaches, found by brute force on the true plant
under the same noise. The tuned law's margins on the true plant are exact.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from homeostat.analysis import FirstOrderModel, Recording, SecondOrderModel, identify, margins
from homeostat.dynamics.margins import Margins
from homeostat.dynamics.rules import Gains, SimpleRule, gains, reduce
from homeostat.laws import PID, AutoTune, Input, RelayTest
from homeostat.simulation import FirstOrder, SecondOrder

Array = NDArray[np.float64]
Plant = FirstOrder | SecondOrder
Model = FirstOrderModel | SecondOrderModel

AMPLITUDE = 0.2
RULES: tuple[SimpleRule, ...] = ("simc", "simc_pid")


class Outcome(NamedTuple):
    """What an online run came to.

    Attributes:
        gains: of the tuned PID; None if it was refused.
        test: recorded relay test.
        error: IAE of setpoint and load step.
        left: greatest error over the last tenth of the run, over the height of the setpoint step.
    """

    gains: Gains | None
    test: Recording
    error: float
    left: float


def draw(rng: np.random.Generator) -> Plant:
    """Return a random stable plant at rest at 0."""
    gain = float(rng.choice([-1, 1]) * 10 ** rng.uniform(-1, 1))
    lag = float(np.exp(rng.uniform(math.log(3), math.log(100))))
    dead_time = int(rng.integers(0, int(lag) + 1) if rng.random() < 0.7 else rng.integers(0, 4))
    noisy = rng.random() < 0.5
    noise = abs(gain) * AMPLITUDE * 10 ** float(rng.uniform(-2.3, -1)) if noisy else 0.0
    if rng.random() < 0.5:
        return FirstOrder(gain=gain, time_constant=lag, dead_time=dead_time, noise=noise)
    damping = float(rng.uniform(0.5, 1.5))
    return SecondOrder(gain=gain, time_constant=lag, damping=damping, dead_time=dead_time, noise=noise)


def model_of(plant: Plant) -> Model:
    """Return the plant as analysis sees it."""
    shape = {"gain": plant.gain, "time_constant": plant.time_constant, "dead_time": plant.dead_time}
    return (
        SecondOrderModel(**shape, damping=plant.damping) if isinstance(plant, SecondOrder) else FirstOrderModel(**shape)
    )


def horizon(plant: Plant) -> int:
    """Return ticks in which a reasonable loop settles."""
    lag = plant.time_constant * (2 * plant.damping if isinstance(plant, SecondOrder) else 1)
    return int(8 * (lag + plant.dead_time)) + 40


def noises(plant: Plant, seed: int) -> Array:
    """Return the noise of the judged part of a run."""
    return plant.noise * np.random.default_rng((seed, 1)).standard_normal(2 * horizon(plant))


class Online:
    """An `AutoTune` at work on a plant, tick by tick."""

    def __init__(self, plant: Plant) -> None:
        self.plant, self.law = plant, AutoTune(test=RelayTest(amplitude=AMPLITUDE, longest=5000))
        self.state, self.memory = plant.init(), self.law.init()
        self.knob, self.ticks = 0.0, 0
        self.readings: list[float] = []
        self.knobs: list[float] = []

    def tick(self, noise: float, setpoint: float, load: float = 0.0) -> float:
        """Decide and step; returns the reading without noise."""
        level = self.plant.read(self.state, 0.0)
        given = Input((level + noise,), (setpoint,), (self.knob,), (self.ticks == 0,), 1)
        (self.knob,), self.memory, _ = self.law.update(self.memory, given)
        self.state = self.plant.step(self.state, self.knob + load)
        self.readings.append(level + noise)
        self.knobs.append(self.knob)
        self.ticks += 1
        return level


def online(plant: Plant, seed: int) -> Outcome:
    """Let the law test, tune, settle, and be judged."""
    rng = np.random.default_rng((seed, 0))
    run, half, height = Online(plant), horizon(plant), AMPLITUDE * abs(plant.gain)
    while run.memory.test.phase in {"resting", "testing"}:
        run.tick(plant.noise * float(rng.standard_normal()), 0.0)
    test = Recording.of(range(run.ticks), run.readings, run.knobs)
    if not run.memory.gains:
        return Outcome(None, test, math.nan, math.nan)
    for _ in range(half):
        run.tick(plant.noise * float(rng.standard_normal()), 0.0)
    errors = np.array(
        [
            height - run.tick(float(noise), height, AMPLITUDE if i >= half else 0.0)
            for i, noise in enumerate(noises(plant, seed))
        ]
    )
    left = float(np.abs(errors[-half // 5 :]).max() / height)
    return Outcome(Gains(*run.memory.gains), test, float(np.abs(errors).sum()), left)


def errors_of(plant: Plant, seed: int, trials: Array) -> Array:
    """Return the IAE of PIDs (rows of gain, integral and derivative time) over the judged part, from rest."""
    pulse, half, height = model_of(plant).pulse(1), horizon(plant), AMPLITUDE * abs(plant.gain)
    gain, reset, rate = trials.T
    kept = np.where(rate > 0, np.exp(-8 / np.maximum(rate, 1e-300)), 0.0)
    acting = np.flatnonzero(pulse.numerator)
    weights, past = pulse.numerator[acting], -pulse.denominator[1:][::-1]
    levels = np.zeros((len(past), len(trials)))
    knobs = np.zeros((len(pulse.numerator), len(trials)))
    total, integral, derivative, error, reading = np.zeros((5, len(trials)))
    with np.errstate(over="ignore", invalid="ignore"):
        for i, noise in enumerate(noises(plant, seed)):
            level = weights @ knobs[(i - acting) % len(knobs)] + past @ levels
            total += np.abs(height - level)
            left = height - level - noise
            integral += gain * (left + error) / 2 / reset
            derivative = kept * derivative - gain * rate * (1 - kept) * (level + noise - reading)
            knobs[i % len(knobs)] = gain * left + integral + derivative + (AMPLITUDE if i >= half else 0.0)
            error, reading = left, level + noise
            levels = np.vstack((levels[1:], level))
    return np.where(np.isfinite(total), total, np.inf)


def optimum(plant: Plant, seed: int) -> tuple[float, Gains]:
    """Return the least IAE of any PID, by a grid and five rounds of random search around its best."""
    delay = reduce(model_of(plant), 1).delay
    begin = np.array(gains(model_of(plant), rule="simc_pid"))
    # In units of the delay, since the best times follow it more than the plant's lag.
    resets, rates = np.geomspace(0.5, 60, 12) * delay, np.append(0.0, np.geomspace(0.1, 4, 6)) * delay
    grid = np.meshgrid(begin[0] * np.geomspace(0.05, 20, 16), resets, rates, indexing="ij")
    trials = np.stack(grid, axis=-1).reshape(-1, 3)
    rng, best, least = np.random.default_rng(0), begin, math.inf
    for spread in (0.4, 0.4, 0.2, 0.1, 0.05, 0.0):
        found = errors_of(plant, seed, trials)
        if found.min() < least:
            best, least = trials[found.argmin()], float(found.min())
        trials = best * np.exp(spread * rng.standard_normal((250, 3)))
    return least, Gains(*map(float, best))


def judge(plant: Plant, seed: int) -> dict[str, Any]:
    """Return everything about one plant."""
    outcome = online(plant, seed)
    best, best_gains = optimum(plant, seed)
    result: dict[str, Any] = {"plant": plant.model_dump(mode="json"), "ticks": len(outcome.test.tick), "optimum": best}
    result["optimal_gains"] = best_gains
    if outcome.gains is None:
        return {**result, "refused": True}
    true = _margins(plant, outcome.gains)
    result |= {"gains": outcome.gains, "ratio": outcome.error / best, "left": outcome.left}
    result |= {"stable": true.stable, "sensitivity": true.sensitivity, "gain_margin": true.gain}
    model = identify(outcome.test).model
    for rule in RULES:
        other = gains(model, rule=rule, every=1)
        stable = _margins(plant, other).stable
        error = float(errors_of(plant, seed, np.array([other]))[0])
        result[rule] = {"ratio": error / best, "stable": stable}
    return result


def _margins(plant: Plant, found: Gains) -> Margins:
    return margins(PID(**found._asdict()), model_of(plant), every=1)


def cases(count: int, seed: int) -> Iterator[tuple[int, Plant]]:
    """Yield plants with a seed for their noise."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        yield 1000 * seed + i, draw(rng)


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures that matter."""
    tuned = [r for r in results if not r.get("refused")]
    ratios = np.array([r["ratio"] for r in tuned])
    worst = int(ratios.argmax())
    figures: dict[str, Any] = {
        "plants": len(results),
        "refused": len(results) - len(tuned),
        "unstable": sum(not r["stable"] for r in tuned),
        "median": float(np.median(ratios)),
        "percentile_90": float(np.quantile(ratios, 0.9)),
        "worst": float(ratios[worst]),
        "worst_plant": tuned[worst]["plant"],
        "greatest_sensitivity": max(r["sensitivity"] for r in tuned),
        "median_test_ticks": float(np.median([r["ticks"] for r in tuned])),
    }
    for rule in RULES:
        found = [r[rule] for r in tuned if rule in r]
        shown = [r["ratio"] for r in found]
        figures[rule] = {"median": float(np.median(shown)), "unstable": sum(not r["stable"] for r in found)}
    return figures


def main() -> None:
    """Run all plants, print the summary, write everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plants", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "autotuning.json")
    arguments = parser.parse_args()
    results: list[dict[str, Any]] = []
    seeds, plants = zip(*cases(arguments.plants, arguments.seed), strict=True)
    with ProcessPoolExecutor(arguments.workers) as pool:
        for result in pool.map(judge, plants, seeds):
            results.append(result)
            kind, ratio = result["plant"]["kind"], result.get("ratio", math.nan)
            print(f"{len(results):4} {kind:12} IAE over optimum {ratio:.2f}", flush=True)
    figures = summary(results)
    print(json.dumps(figures, indent=1))
    arguments.output.write_text(json.dumps({"summary": figures, "plants": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
