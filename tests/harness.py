"""A model with every kind of knob, and the tick of a training step, done by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW, Optimizer

from homeostat import nn as hnn
from homeostat.actuators import Actuator
from homeostat.observers import Observer
from homeostat.plant import Plant


class Net(nn.Module):
    """One attention head over embedded tokens, with a dial of each name the library's actuators look for."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, width)
        self.rotation = nn.Parameter(torch.eye(width) + 0.05 * torch.randn(width, width))
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.dropout = hnn.Dropout(0.1)
        self.plain = nn.Dropout(0.2)
        self.tap = hnn.AttentionTap()
        self.relu = nn.ReLU()
        self.out = nn.Linear(width, 20)
        # Never called: it only has statistics to be read.
        self.norm = nn.BatchNorm1d(width, affine=False)
        self.rotary_base = hnn.Dial(100.0)
        self.attention_window = hnn.Dial(2, integer=True)
        self.embedding_width = hnn.Dial(width)
        self.rotation_penalty = hnn.Dial(0.01)
        self.loss_weight = hnn.Dial(0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) * (self.embedding_width() / self.embedding_width.initial)
        x = self.dropout(x @ self.rotation)
        q, k = self.query(x)[:, None], self.key(x)[:, None]
        q = q * torch.cos(torch.arange(q.shape[2])[:, None] / self.rotary_base())
        self.tap(q, k, scale=q.shape[-1] ** -0.5)
        places = torch.arange(q.shape[2])
        distance = (places[:, None] - places).abs()
        bias = (self.attention_window() + 1 - distance).clamp(1e-6, 1).log()
        mixed = F.scaled_dot_product_attention(q, k, x[:, None], bias)[:, 0]
        return self.out(self.plain(self.relu(mixed)))

    def penalty(self) -> Tensor:
        drift = self.rotation.T @ self.rotation - torch.eye(len(self.rotation))
        return self.loss_weight() * self.rotation_penalty() * drift.square().sum()


class Bench:
    """A training run whose ticks are made by hand, in the order the controller promises."""

    def __init__(
        self,
        observers: Sequence[Observer] = (),
        actuators: Sequence[Actuator] = (),
        *,
        make_optimizer: Callable[[nn.Module], Optimizer] = lambda model: AdamW(model.parameters(), lr=1e-2),
        seed: int = 0,
    ) -> None:
        torch.manual_seed(seed)
        self.model = Net()
        self.optimizer = make_optimizer(self.model)
        self.plant = Plant(self.model, (self.optimizer,))
        self.observers = [(part, part.init(self.plant)) for part in observers]
        self.handles = [h for part, memory in self.observers for h in part.attach(self.plant, memory)]
        self.actuators = sorted(((part, part.init(self.plant)) for part in actuators), key=lambda pair: pair[0].order)
        self.losses: list[float] = []
        self.readings: list[list[Tensor | None]] = []

    def memory(self, part: Observer | Actuator) -> Any:
        return next(memory for other, memory in [*self.observers, *self.actuators] if other is part)

    def step(self) -> None:
        """Train on one batch; every observer and transient actuator is due."""
        tokens = torch.randint(20, (4, 7), generator=torch.Generator().manual_seed(len(self.losses)))
        self._prepare("activations")
        loss = F.cross_entropy(self.model(tokens).flatten(0, 1), tokens.roll(1, 1).flatten()) + self.model.penalty()
        self.plant.metrics.observe("loss", loss)
        self.plant.metrics.observe("validation_loss", loss + 1)
        self.optimizer.zero_grad()
        loss.backward()
        self.plant.metrics.commit()
        self.losses.append(loss.item())
        readings = self._observe("metrics", "gradients", "activations")
        self._prepare("proposals", "updates")
        transient = [(part, memory) for part, memory in self.actuators if part.transient]
        for part, memory in transient:
            part.before_step(self.plant, memory)
        self.optimizer.step()
        readings |= self._observe("proposals")
        for part, memory in reversed(transient):
            part.after_step(self.plant, memory)
        readings |= self._observe("updates")
        self.readings.append([readings[id(part)] for part, _ in self.observers])
        self.plant.tick += 1
        self.plant.forget()

    def run(self, steps: int) -> Bench:
        for _ in range(steps):
            self.step()
        return self

    def state(self) -> list[Tensor]:
        """Everything a run must not differ in: weights, dials, optimizer state, random state."""
        buffers = [b.clone() for b in self.model.buffers()]
        moments = [v.clone() for s in self.optimizer.state.values() for v in s.values() if isinstance(v, Tensor)]
        return [*(p.detach().clone() for p in self.model.parameters()), *buffers, *moments, torch.get_rng_state()]

    def _prepare(self, *phases: str) -> None:
        for part, memory in self.observers:
            if part.phase in phases:
                part.prepare(self.plant, memory)

    def _observe(self, *phases: str) -> dict[int, Tensor | None]:
        return {id(part): part.observe(self.plant, m) for part, m in self.observers if part.phase in phases}


def same(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Whether two lists of tensors are bit-identical."""
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
