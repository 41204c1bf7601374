"""A run with every observer and every actuator, whole or in shards, that gives the same numbers either way."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from homeostat import CoupledLoop, Loop
from homeostat.actuators import (
    AttentionWindow,
    ClipNorm,
    Dial,
    Dropout,
    EmbeddingWidth,
    LearningRate,
    RotaryBase,
    RotationPenalty,
    RotationRetraction,
    UpdateLimit,
)
from homeostat.laws import PID, Hold, MatrixPI
from homeostat.loop import AnyLoop
from homeostat.norms import gathered
from homeostat.observers import (
    AttentionReach,
    DeadUnits,
    EffectiveRank,
    GeneralizationGap,
    GradientNorm,
    Loss,
    LossPeak,
    LossTrend,
    OrthogonalityDrift,
    ParameterNorm,
    ProposedUpdateRatio,
    RunningVariance,
    UpdateRatio,
)
from tests.training import Training

STEPS = 12
# What is sampled from each rank's own shards is not the number that the whole gives.
SAMPLED = ("update_ratio", "proposed_update_ratio")


def _loop(observer: Any, gain: float, actuator: Any, setpoint: float, name: str) -> Loop:
    law = PID(gain=gain, integral_time=20.0) if gain else Hold()
    return Loop(observer, law, actuator, setpoint=setpoint, every=2, name=name)


def loops() -> list[AnyLoop]:
    """Every knob moves, but for those of the sampled readings."""
    return [
        _loop(Loss(), 0.05, LearningRate(low=0.01, high=100.0), 2.0, "loss"),
        _loop(GradientNorm(), -0.1, ClipNorm(start=0.5), 0.3, "gradient_norm"),
        _loop(LossPeak(), 0.1, UpdateLimit(start=0.01), 2.0, "loss_peak"),
        _loop(UpdateRatio(), 0.0, Dropout(modules="dropout"), 0.0, "update_ratio"),
        _loop(ProposedUpdateRatio(statistic="mean"), 0.0, Dropout(modules="plain"), 0.0, "proposed_update_ratio"),
        _loop(AttentionReach(), -4.0, AttentionWindow(low=1, high=6, quantum=1), 0.2, "attention_reach"),
        _loop(EffectiveRank(parameters="embedding.weight"), 0.1, EmbeddingWidth(low=4, high=12), 8.0, "rank"),
        _loop(RunningVariance(), 0.1, RotationPenalty(low=1e-4, high=10), 1.0, "running_variance"),
        _loop(
            OrthogonalityDrift(parameters="rotation", statistic="mean"),
            -1.0,
            RotationRetraction(parameters="rotation", start=0.1),
            0.05,
            "retraction",
        ),
        CoupledLoop(
            observers=(GeneralizationGap(), DeadUnits(), ParameterNorm()),
            law=MatrixPI(gain=((0.1, 1.0, 0.1),), integral=((0.005, 0.05, 0.005),), tracking_time=20.0),
            actuators=(Dial(dials="loss_weight", low=0.01, high=10),),
            setpoints=(0.1, 0.0, 5.0),
            every=2,
            name="gap_units_norm",
        ),
        _loop(LossTrend(window=3), 1.0, RotaryBase(low=10, high=1e6), 0.0, "trend"),
    ]


def run(training: Training) -> dict[str, Any]:
    """Return readings and knobs of every loop, and the whole weights."""
    homeostat = training.attach(loops(), latency=0)
    training.run(STEPS)
    trace = homeostat.trace
    seen = {
        "readings": {name: _readings(trace.loop(name)) for name in trace.loops},
        "knobs": {name: trace.loop(name)["delivered.0"].tolist() for name in trace.loops},
        "weights": {name: _numbers(p) for name, p in training.model.named_parameters()},
    }
    homeostat.detach()
    return seen


def _readings(columns: dict[str, Any]) -> list[float]:
    return [reading for name, column in columns.items() if name.startswith("reading.") for reading in column.tolist()]


@torch.no_grad()
def _numbers(parameter: Tensor) -> list[float]:
    values: list[float] = gathered(parameter.detach()).flatten().tolist()
    return values
