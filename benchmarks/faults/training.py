"""What a training loop of the suite is made of, and the two that are no speech."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from benchmarks.foreign_loops import Convolutions, Run, SmallGPT, digits, next_character_loss, reference

DROPOUT = 0.1
Change = Callable[[Tensor], Tensor]


class Loader:
    """Draws the batch of each step as a function of seed and position, so that its position is all of its state.

    Args:
        draw: the batch of a generator.
        seed: of the order.
        steps: batches to give.
    """

    def __init__(self, draw: Callable[[torch.Generator], Any], seed: int, steps: int) -> None:
        self._draw, self._seed, self._steps = draw, seed, steps
        self.position = 0

    def __iter__(self) -> Iterator[Any]:
        """Give the batches that are left; a position that is set back is met again."""
        while self.position < self._steps:
            generator = torch.Generator().manual_seed(1_000_003 * self._seed + self.position)
            self.position += 1
            yield self._draw(generator)

    def state_dict(self) -> dict[str, int]:
        """Return the position."""
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Set the position."""
        self.position = state["position"]


class Training(ABC):
    """One run: a model, an optimizer, a schedule, a loader, and how a batch becomes a loss.

    Attributes:
        steps: length of the run.
        recipe: with which ours is attached.
    """

    steps: int
    recipe = "steady"
    model: nn.Module
    optimizer: Optimizer
    scheduler: Any
    loader: Loader

    @abstractmethod
    def loss(self, batch: Any) -> Tensor:
        """Return the loss that is minimised."""

    @abstractmethod
    def held_out(self) -> float:
        """Return the loss on data that are not learned from, without dropout; draws no random numbers."""

    @abstractmethod
    def with_inputs(self, batch: Any, change: Change) -> Any:
        """Return the batch with other numbers in front of the first layer; the first dimension counts examples."""

    @abstractmethod
    def with_shuffled_labels(self, batch: Any, generator: torch.Generator) -> Any:
        """Return the batch with its labels dealt out anew."""

    def set_dropout(self, rate: float) -> None:
        """Set the model's rate of dropout, by whatever means the model has."""
        for module in self.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = rate


class CNN(Training):
    """Digits of 8 x 8 pixels, three in four; batch normalisation, and dropout before the last layer."""

    def __init__(self, seed: int, steps: int = 150) -> None:
        torch.manual_seed(seed)
        self.steps = steps
        self.model = Convolutions()
        self.model.insert(len(self.model) - 1, nn.Dropout(DROPOUT))
        self.optimizer, self.scheduler = Run("adamw", 3e-3, seed, self.steps).build(self.model)
        images, labels, self._held_images, self._held_labels = digits()

        def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
            chosen = torch.randint(len(images), (64,), generator=generator)
            return images[chosen], labels[chosen]

        self.loader = Loader(draw, seed, self.steps)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the mean cross-entropy."""
        images, labels = batch
        return F.cross_entropy(self.model(images), labels)

    @torch.no_grad()
    def held_out(self) -> float:
        """Return the mean cross-entropy on a quarter of the images."""
        self.model.eval()
        loss = F.cross_entropy(self.model(self._held_images), self._held_labels).item()
        self.model.train()
        return loss

    def with_inputs(self, batch: tuple[Tensor, Tensor], change: Change) -> tuple[Tensor, Tensor]:
        """Change the images."""
        return change(batch[0]), batch[1]

    def with_shuffled_labels(self, batch: tuple[Tensor, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Deal the labels out anew among the images."""
        return batch[0], batch[1][torch.randperm(len(batch[1]), generator=generator)]


class GPT(Training):
    """Python's language reference, character by character, with dropout in every block."""

    def __init__(self, seed: int, steps: int = 150) -> None:
        torch.manual_seed(seed)
        self.steps = steps
        text, self._held, characters = reference()
        self._model = self.model = SmallGPT(len(characters), width=32, heads=2)
        self.set_dropout(DROPOUT)
        self.optimizer, self.scheduler = Run("adamw", 3e-3, seed, self.steps).build(self.model)

        def draw(generator: torch.Generator) -> tuple[Tensor, Tensor, Change | None]:
            window = text[torch.randint(len(text) - 33, (12, 1), generator=generator) + torch.arange(33)]
            return window[:, :-1], window[:, 1:], None

        self.loader = Loader(draw, seed, self.steps)

    def loss(self, batch: tuple[Tensor, Tensor, Change | None]) -> Tensor:
        """Return the mean cross-entropy of each next character; numbers of a character are changed once embedded."""
        ids, following, change = batch
        if change is None:
            return self._cross_entropy(ids, following)
        with self._model.characters.register_forward_hook(lambda _m, _i, embedded: change(embedded)):
            return self._cross_entropy(ids, following)

    def _cross_entropy(self, ids: Tensor, following: Tensor) -> Tensor:
        return F.cross_entropy(self.model(ids).flatten(0, 1), following.flatten())

    @torch.no_grad()
    def held_out(self) -> float:
        """Return the mean cross-entropy on every third line of the reference's end."""
        self.model.eval()
        loss = next_character_loss(self.model, self._held.unfold(0, 33, 99)).item()
        self.model.train()
        return loss

    def with_inputs(
        self, batch: tuple[Tensor, Tensor, Change | None], change: Change
    ) -> tuple[Tensor, Tensor, Change | None]:
        """Change the embedded characters."""
        return batch[0], batch[1], change

    def with_shuffled_labels(
        self, batch: tuple[Tensor, Tensor, Change | None], generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Change | None]:
        """Deal the next characters out anew among all places of the batch."""
        ids, following, change = batch
        dealt = following.flatten()[torch.randperm(following.numel(), generator=generator)]
        return ids, dealt.view_as(following), change
