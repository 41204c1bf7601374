"""A training run of the harness's model under the user's own loop, with or without a controller."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW, Optimizer

from homeostat import Homeostat, Loop
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
from homeostat.laws import PID, Hold, Law
from homeostat.loop import AnyLoop
from homeostat.observers import (
    AttentionReach,
    EffectiveRank,
    GeneralizationGap,
    GradientNorm,
    Loss,
    LossTrend,
    OrthogonalityDrift,
    UpdateRatio,
)
from tests.harness import Net


def adamw(model: nn.Module) -> Optimizer:
    return AdamW(model.parameters(), lr=1e-2)


class Training:
    """One model, one optimizer, batches that are a function of the step's number."""

    def __init__(self, make_optimizer: Callable[[nn.Module], Optimizer] = adamw, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.model = Net()
        self.optimizer = make_optimizer(self.model)
        self.steps = 0
        self.losses: list[float] = []
        self.homeostat: Homeostat | None = None

    def attach(self, loops: Sequence[AnyLoop], *, latency: int | None = None, **options: Any) -> Homeostat:
        self.homeostat = Homeostat(loops, **options).attach(self.model, self.optimizer, latency=latency)
        return self.homeostat

    def loss(self) -> Tensor:
        generator = torch.Generator().manual_seed(self.steps)
        tokens = torch.randint(20, (4, 7), generator=generator)
        # Dropout draws from the global generator: a resumed run must draw what the first one drew.
        torch.manual_seed(1000 + self.steps)
        return F.cross_entropy(self.model(tokens).flatten(0, 1), tokens.roll(1, 1).flatten()) + self.model.penalty()

    def step(self, **metrics: float) -> None:
        loss = self.loss()
        if self.homeostat is not None:
            self.homeostat.observe(loss=loss, **metrics)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.keep(loss)
        self.steps += 1

    def keep(self, loss: Tensor) -> None:
        self.losses.append(loss.item())

    def run(self, steps: int) -> Training:
        for _ in range(steps):
            self.step(**({"validation_loss": 3.0} if self.steps % 5 == 0 else {}))
        return self

    def state(self) -> list[Tensor]:
        """Everything a run must not differ in: weights, dials, the optimizer's state."""
        moments = [v.clone() for s in self.optimizer.state.values() for v in s.values() if isinstance(v, Tensor)]
        return [*(p.detach().clone() for p in self.model.parameters()), *self.model.buffers(), *moments]


def _pid(gain: float) -> PID:
    return PID(gain=gain, integral_time=20.0)


def every_loop(law: Law | None = None, every: int = 3) -> list[AnyLoop]:
    """One loop on every knob the model has, each with another observer; `law` replaces the moving laws."""

    def loop(observer: Any, own: Law, actuator: Any, setpoint: float) -> Loop:
        return Loop(observer, law or own, actuator, setpoint=setpoint, every=every)

    return [
        loop(UpdateRatio(), PID(gain=0.5, integral_time=20.0), LearningRate(low=0.01, high=100.0), 1e-2),
        loop(GradientNorm(), _pid(-0.1), ClipNorm(start=0.5), 0.3),
        loop(UpdateRatio(statistic="mean"), _pid(0.1), UpdateLimit(start=0.05), 1e-2),
        loop(GeneralizationGap(), _pid(0.01), Dropout(modules="dropout"), 0.1),
        loop(LossTrend(window=3), _pid(1.0), Dropout(modules="plain"), 0.0),
        loop(AttentionReach(), _pid(-4.0), AttentionWindow(low=1, high=6, quantum=1), 0.2),
        loop(EffectiveRank(parameters="embedding.weight"), _pid(0.1), EmbeddingWidth(low=4, high=12), 8.0),
        loop(OrthogonalityDrift(parameters="rotation"), _pid(-3.0), RotationPenalty(low=1e-4, high=10), 0.01),
        loop(OrthogonalityDrift(parameters="rotation"), _pid(-1.0), RotationRetraction(parameters="rotation"), 0.05),
        loop(Loss(smoothing=2.0), _pid(0.5), RotaryBase(low=10, high=1e6), 2.0),
        loop(Loss(), _pid(0.1), Dial(dials="loss_weight", low=0.01, high=10), 2.0),
    ]


def holding_loops(every: int = 3) -> list[AnyLoop]:
    """The same loops, all of which only watch, with every limit open as it is by default."""
    loops = every_loop(Hold(), every)
    opened = {"ClipNorm": ClipNorm(), "UpdateLimit": UpdateLimit()}
    return [
        loop.model_copy(update={"actuator": opened.get(type(loop.actuator).__name__, loop.actuator)})
        for loop in loops
        if isinstance(loop, Loop)
    ]
