"""A user's own loop with a schedule, batch normalisation and a loader that can go back, and faults done to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LinearLR

from homeostat import Homeostat, Loop
from homeostat.actuators import ClipNorm, LearningRate
from homeostat.guards import Guard, Ladder, SnapshotPolicy
from homeostat.guards.detectors import NonFinite, Spike
from homeostat.laws import PID, Affine, Chain, Median
from homeostat.observers import GradientNorm, Loss, UpdateRatio

STEPS = 60
GUARDS = (Guard(Loss(), NonFinite()), Guard(Loss(), Spike(fewest=5), every=2))
OFTEN = SnapshotPolicy(every=10, probation=5)


def adamw(model: nn.Module) -> Optimizer:
    return AdamW(model.parameters(), lr=1e-2)


def moving_loops() -> list[Loop]:
    """Loops whose laws remember, so that a replay that forgot one of them would differ."""
    clip = Chain(laws=(Median(window=3), Affine(offset=0.5)))
    return [
        Loop(UpdateRatio(), PID(gain=0.1, integral_time=10.0, log_error=True), LearningRate(), setpoint=1e-2, every=3),
        Loop(GradientNorm(log=True), clip, ClipNorm(), every=4),
    ]


class Loader:
    """Batches that are a function of their number; going back is setting the number back."""

    def __init__(self, steps: int = STEPS) -> None:
        self.steps = steps
        self.position = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while self.position < self.steps:
            x = torch.randn(16, 6, generator=torch.Generator().manual_seed(self.position))
            self.position += 1
            yield x, (x[:, :3].sum(1) > 0).long()

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]


class Victim:
    """The run. `strike` is called with the moment, itself, and the batch or None; it may return another batch."""

    def __init__(self, make_optimizer: Callable[[nn.Module], Optimizer] = adamw, steps: int = STEPS) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.1), nn.Linear(12, 2)
        )  # fmt: skip
        self.optimizer = make_optimizer(self.model)
        self.schedule = LinearLR(self.optimizer, 1.0, 0.1, steps)
        self.loader = Loader(steps)
        self.iterations = 0
        self.losses: list[float] = []
        self.homeostat: Homeostat | None = None

    def attach(
        self,
        guards: Sequence[Guard] = GUARDS,
        *,
        replay: bool = True,
        loops: Sequence[Loop] = (),
        snapshots: SnapshotPolicy | None = OFTEN,
        ladder: Ladder | None = None,
        latency: int | None = None,
        **options: Any,
    ) -> Victim:
        homeostat = Homeostat(loops, guards=guards, snapshots=snapshots, ladder=ladder, **options)
        restores = (self.schedule, self.loader) if replay else (self.schedule,)
        self.homeostat = homeostat.attach(self.model, self.optimizer, restores=restores, latency=latency)
        return self

    def run(self, strike: Callable[[str, Victim, Any], Any] = lambda *_: None) -> Victim:
        for batch in self.loader:
            x, y = strike("batch", self, batch) or batch
            loss = F.cross_entropy(self.model(x), y)
            if self.homeostat is not None:
                self.homeostat.observe(loss=loss)
            self.optimizer.zero_grad()
            loss.backward()
            strike("gradient", self, None)
            self.optimizer.step()
            self.schedule.step()
            self.iterations += 1
            self.losses.append(loss.item())
        self.random = torch.get_rng_state()
        return self

    def state(self) -> list[Tensor]:
        """Everything a run must not differ in."""
        moments = [v for s in self.optimizer.state.values() for v in s.values() if isinstance(v, Tensor)]
        rate = torch.tensor(self.optimizer.param_groups[0]["lr"])
        return [t.detach().clone() for t in (*self.model.parameters(), *self.model.buffers(), *moments, rate)]

    def told(self) -> list[tuple[int, str, int | None]]:
        """Tick, answer and where it went back to of every intervention."""
        assert self.homeostat is not None
        return [(i.tick, i.answer, i.back_to) for i in self.homeostat.trace.interventions]


def broken_batch(*positions: int, times: float = math.nan) -> Callable[[str, Victim, Any], Any]:
    """Batches of these numbers are NaN, whenever they are met."""

    def strike(moment: str, run: Victim, batch: Any) -> Any:
        bad = moment == "batch" and run.loader.position - 1 in positions
        return (batch[0] * times, batch[1]) if bad else None

    return strike


def once(iteration: int, act: Callable[[Victim], None], moment: str = "batch") -> Callable[[str, Victim, Any], Any]:
    """Something happens once in time: a replay does not meet it again."""

    def strike(now: str, run: Victim, _: Any) -> None:
        if now == moment and run.iterations == iteration:
            with torch.no_grad():
                act(run)

    return strike


def spoil_weight(run: Victim) -> None:
    """One weight is no number any more."""
    run.model[0].weight[0, 0] = math.nan


def scale_weights(run: Victim) -> None:
    """The weights of the last layer are a thousand times too large."""
    run.model[4].weight *= 1e3
