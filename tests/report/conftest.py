"""A run with all that a report must show: saturation, holds, rare readings, a coupled loop, one that never decides."""

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeostat.report import write_report
from homeostat.sinks import JsonLines
from homeostat.trace import Entry, Event, Intervention, LoopVitals, Metric, Record, Vitals

TICKS = 3000


def loop(name: str, observers: list[str], actuators: list[dict[str, Any]], every: int = 10) -> dict[str, Any]:
    return {
        "name": name,
        "every": every,
        "observers": [{"kind": kind} for kind in observers],
        "law": {"kind": "PID", "gain": 0.5, "integral_time": 200.0},
        "actuators": actuators,
        "setpoints": [0.002],
    }


DESCRIPTION = {
    "version": 1,
    "homeostat": "0.1.0",
    "tick": 0,
    "name": "spoken digits, seed 0",
    "loops": [
        loop("update ratio", ["UpdateRatio"], [{"kind": "LearningRate", "low": 1e-4, "high": 1e4, "scale": "log"}]),
        loop("generalisation", ["GeneralizationGap"], [{"kind": "Dropout", "low": 0.0, "high": 0.5}], every=200),
        loop("rotary base", ["AttentionReach"], [{"kind": "RotaryBase", "low": 500, "high": 1e5, "scale": "log"}]),
        loop(
            "rotation & window",
            ["OrthogonalityDrift", "AttentionReach"],
            [
                {"kind": "RotationPenalty", "low": 1e-6, "high": 1e-1, "scale": "log"},
                {"kind": "AttentionWindow", "low": 16, "high": 256, "scale": "linear", "quantum": 16},
            ],
        ),
        loop("rare", ["EffectiveRank"], [{"kind": "EmbeddingWidth", "low": 16, "high": 128}], every=100000),
    ],
}


def decision(tick: int, name: str, reading: float, setpoint: float, knob: float, *limits: str) -> Record:
    return Record(tick, name, (reading,), (setpoint,), (knob,), (knob,), (knob,), limits, {"p": 0.1})


def vitals(regulation: float) -> LoopVitals:
    return LoopVitals(100, regulation, regulation, 0.5, 0.0, 0.0, 1e-3, 0.0)


def entries() -> Iterator[Entry]:
    chance = random.Random(0)
    rate, base, penalty = 1.0, 10000.0, 1e-4
    yield Event(0, "attached")
    yield Event(1400, "alarm: rotary base stands at its low limit; lower it or raise the setpoint")
    yield Event(2000, "resumed at tick 2000")
    yield Intervention(905, "loss non_finite", "skip", "loss nan is not finite")
    yield Intervention(910, "loss spike", "rollback", "loss 4.9 is 8.3 <robust> deviations above 1.2", back_to=900)
    for tick in range(TICKS):
        loss = 4.0 * math.exp(-tick / 500) + 0.4 + 0.25 * chance.random() + (3.0 if 900 < tick < 915 else 0.0)
        yield Metric(tick, "loss", math.nan if tick == 905 else loss)
        if tick % 300 == 299:
            calm, lost = 1 - math.exp(-tick / 400), math.exp(-tick / 2000)
            yield Vitals(tick, math.sqrt(calm * lost), {"update ratio": vitals(calm), "rotary base": vitals(lost)})
        if tick % 200 == 199:
            yield Metric(tick, "validation_loss", loss + 0.2)
            yield Metric(tick, "accuracy", 1 - math.exp(-tick / 700))
            yield decision(tick, "generalisation", 0.08 * chance.random(), 0.05, min(0.5, 1e-4 * tick))
        if tick % 10:
            continue
        rate *= math.exp(chance.gauss(-0.004 if tick < 1500 else 0.002, 0.02))
        ratio = 2e-3 * math.exp(chance.gauss(0, 0.25)) * (4 if tick < 200 else 1)
        yield decision(tick, "update ratio", ratio, 2e-3 * math.cos(tick / 2500), rate)
        held = 900 <= tick < 960
        base = max(500.0, base * math.exp(chance.gauss(-0.03 if tick < 2000 else 0.01, 0.03) * (not held)))
        limits = ("held",) if held else ("low",) if base == 500.0 else ()
        yield decision(tick, "rotary base", math.nan if held else 0.3 + 0.05 * chance.random(), 0.2, base, *limits)
        penalty = min(1e-1, penalty * math.exp(chance.gauss(0.03, 0.05)))
        window = 16.0 * round(6 + 4 * math.sin(tick / 400))
        yield Record(
            tick,
            "rotation & window",
            (0.02 * math.exp(-tick / 900) + 1e-4, 0.1 + 0.02 * chance.random()),
            (1e-3, 0.1),
            (penalty, window),
            (penalty, window),
            (penalty, window),
            ("high",) if penalty == 1e-1 else ("external",) if tick == 2500 else (),
            {},
        )


def write_trace(folder: Path, description: dict[str, Any], items: Iterator[Entry]) -> Path:
    sink = JsonLines(folder / "trace.jsonl")
    sink.open(description)
    for entry in items:
        sink.write(entry)
    sink.close()
    return folder


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trace(tmp_path_factory.mktemp("run"), DESCRIPTION, entries())


@pytest.fixture(scope="session")
def report(run_folder: Path) -> Path:
    return write_report(run_folder)
