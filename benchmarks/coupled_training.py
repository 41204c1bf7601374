"""A small training run with two knobs and two readings that are coupled by nature.

The network is normalised after every layer, so the size of its weights changes nothing that it computes; under AdamW
the size is then set by the balance of growth and decay (T. van Laarhoven, 2017; A. Kosson et al., 2023):

    log |w| follows (log rate - log decay) / 2 slowly;   log |step| / |w| = log rate - log |w| + const.

So the learning rate raises both readings, while the weight decay lowers the one and raises the other.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from sklearn.datasets import load_digits
from torch import nn

from homeostat import CoupledLoop, Homeostat, Loop
from homeostat.actuators import Actuator, LearningRate
from homeostat.laws import Law
from homeostat.observers import Loss
from homeostat.plant import Plant

RATE, DECAY = 0.01, 1.0
SIZE, UPDATE = Loss(metric="size"), Loss(metric="update")


class WeightDecay(Actuator):
    """Sets the optimizer's weight decay."""

    low: float = 0.1
    high: float = 10.0
    scale: Literal["linear", "log"] = "log"

    def init(self, plant: Plant) -> None:
        """Keep nothing."""

    def targets(self, plant: Plant) -> frozenset[str]:
        """Name what is written."""
        return frozenset(f"group {i}: weight_decay" for i, _ in enumerate(plant.groups))

    def read(self, plant: Plant, memory: Any) -> float:
        """Return the decay of the first group, which all share."""
        del memory
        return float(next(iter(plant.groups))["weight_decay"])

    def write(self, plant: Plant, memory: Any, value: float) -> float:
        """Set it in all groups."""
        del memory
        for group in plant.groups:
            group["weight_decay"] = value
        return value


KNOBS = (LearningRate(low=0.1, high=10.0), WeightDecay())


def loops(laws: tuple[Law, ...], goals: tuple[Any, Any], knobs: tuple[int, int] = (0, 1)) -> list[Loop | CoupledLoop]:
    """Return one coupled loop for one law, else a loop a reading; `knobs` says which knob answers which reading."""
    if len(laws) == 1:
        return [CoupledLoop(observers=(SIZE, UPDATE), law=laws[0], actuators=KNOBS, setpoints=goals, patience=10**6)]
    return [
        Loop(observer, law, KNOBS[knob], setpoint=goal, patience=10**6)
        for observer, law, knob, goal in zip((SIZE, UPDATE), laws, knobs, goals, strict=True)
    ]


def train(controls: list[Any], ticks: int, seed: int) -> dict[str, list[float]]:
    """Train with the loops; return size, update (both as logarithms), log rate, log decay and loss of every tick."""
    torch.manual_seed(seed)
    inputs, labels = (torch.tensor(each) for each in load_digits(return_X_y=True))
    inputs = inputs.float() / 16
    layers: list[nn.Module] = []
    for width, out in ((64, 64), (64, 64), (64, 10)):
        layers += [nn.Linear(width, out, bias=False), nn.LayerNorm(out, elementwise_affine=False), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    homeostat = Homeostat(loops=controls).attach(model, optimizer)
    course: dict[str, list[float]] = {name: [] for name in ("size", "update", "rate", "decay", "loss")}
    rates: list[float] = []
    # Registered after `attach`, so that it sees the rate that this step uses.
    optimizer.register_step_pre_hook(lambda opt, *_: rates.append(float(opt.param_groups[0]["lr"])))
    for _ in range(ticks):
        batch = torch.randint(len(labels), (64,))
        loss = nn.functional.cross_entropy(2 * model(inputs[batch]), labels[batch])
        loss.backward()  # type: ignore[no-untyped-call]
        before = _flat(model)
        if course["size"]:
            homeostat.observe(size=course["size"][-1], update=course["update"][-1])
        optimizer.step()
        optimizer.zero_grad()
        after = _flat(model)
        course["size"].append(math.log(after.norm().item()))
        course["update"].append(math.log((after - before).norm().item() / after.norm().item()))
        course["rate"].append(math.log(rates[-1] / RATE))
        course["decay"].append(math.log(optimizer.param_groups[0]["weight_decay"] / DECAY))
        course["loss"].append(loss.item())
    homeostat.detach()
    return course


def _flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
