"""Three ordinary training loops that know nothing of `homeostat`, each with the one added line.

All data ship with Python or scikit-learn: 8 x 8 images of handwritten digits, and Python's own language reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from homeostat import Homeostat

Schedule = Callable[[Optimizer], LRScheduler]


class Run(NamedTuple):
    """What a training loop is given.

    Attributes:
        optimizer: "adamw" or "sgd" (momentum 0.9).
        rate: learning rate.
        seed: of the weights and of the order of the data.
        steps: length of the run.
        annealed: let the rate fall along a cosine, as most loops do; else it is constant.
    """

    optimizer: str
    rate: float
    seed: int
    steps: int
    annealed: bool = True

    def build(self, model: nn.Module) -> tuple[Optimizer, LRScheduler]:
        """Return the optimizer and its schedule."""
        optimizer: Optimizer
        if self.optimizer == "sgd":
            optimizer = SGD(model.parameters(), lr=self.rate, momentum=0.9)
        else:
            optimizer = AdamW(model.parameters(), lr=self.rate)
        share = (lambda t: (1 + math.cos(math.pi * t / self.steps)) / 2) if self.annealed else (lambda _: 1.0)
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, share)


class Convolutions(nn.Sequential):
    """A small CNN with batch normalisation, 10 classes."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(512, 10),
        )


class SmallGPT(nn.Module):
    """A pre-norm transformer over characters, initialised as GPT-2 is."""

    def __init__(self, characters: int, width: int = 48, heads: int = 3, layers: int = 2, context: int = 32) -> None:
        super().__init__()
        self.characters = nn.Embedding(characters, width)
        self.positions = nn.Parameter(torch.zeros(context, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, characters, bias=False)
        for parameter in self.parameters():
            if parameter.ndim >= 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits of each next character, shape (batch, length, characters)."""
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        hidden = self.characters(ids) + self.positions[: ids.shape[1]]
        logits: Tensor = self.head(self.blocks(hidden, mask=mask, is_causal=True))
        return logits


class Recurrent(nn.Module):
    """A character LSTM with torch's default initialisation."""

    def __init__(self, characters: int, width: int = 96) -> None:
        super().__init__()
        self.characters = nn.Embedding(characters, 32)
        self.lstm = nn.LSTM(32, width, batch_first=True)
        self.head = nn.Linear(width, characters)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits of each next character, shape (batch, length, characters)."""
        logits: Tensor = self.head(self.lstm(self.characters(ids))[0])
        return logits


def train_convolutions(run: Run, homeostat: Homeostat | None = None) -> float:
    """Train on digits; returns the error rate on those held out (in %)."""
    images, labels, held_images, held_labels = digits()
    torch.manual_seed(run.seed)
    model = Convolutions()
    optimizer, scheduler = run.build(model)
    if homeostat is not None:
        homeostat.attach(model, optimizer)
    for _ in range(run.steps):
        batch = torch.randint(len(images), (64,))
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        if homeostat is not None:
            homeostat.observe(loss=loss)  # the one added line
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()
    model.eval()
    with torch.no_grad():
        wrong = model(held_images).argmax(1) != held_labels
    return 100 * float(wrong.float().mean())


def train_gpt(run: Run, homeostat: Homeostat | None = None) -> float:
    """Train a transformer on the language reference; returns the loss on its last part (in nats per character)."""
    torch.manual_seed(run.seed)
    return _train_on_text(SmallGPT(len(reference()[2])), run, homeostat)


def train_lstm(run: Run, homeostat: Homeostat | None = None) -> float:
    """Train an LSTM on the language reference; returns the loss on its last part (in nats per character)."""
    torch.manual_seed(run.seed)
    return _train_on_text(Recurrent(len(reference()[2])), run, homeostat)


def _train_on_text(model: nn.Module, run: Run, homeostat: Homeostat | None) -> float:
    text, held_out, _ = reference()
    optimizer, scheduler = run.build(model)
    if homeostat is not None:
        homeostat.attach(model, optimizer)
    for _ in range(run.steps):
        starts = torch.randint(len(text) - 33, (16, 1))
        window = text[starts + torch.arange(33)]
        loss = next_character_loss(model, window)
        if homeostat is not None:
            homeostat.observe(loss=loss)  # the one added line
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()
    model.eval()
    with torch.no_grad():
        return next_character_loss(model, held_out.unfold(0, 33, 33)).item()


def next_character_loss(model: nn.Module, window: Tensor) -> Tensor:
    """Return the mean cross-entropy of each character given those before it in its row."""
    return F.cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())


@cache
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return training images in [0, 1] and labels, then those held out (one in four)."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 (takes a second, and only this loop needs it)

    found = load_digits()
    images = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(found.target)
    held = torch.arange(len(labels)) % 4 == 0
    return images[~held], labels[~held], images[held], labels[held]


@cache
def reference() -> tuple[Tensor, Tensor, list[str]]:
    """Return Python's language reference as character numbers, its last 6600 apart, and the characters."""
    from pydoc_data.topics import topics  # noqa: PLC0415 (450 kB)

    text = "\n".join(topics[name] for name in sorted(topics))
    characters = sorted(set(text))
    number = {character: i for i, character in enumerate(characters)}
    ids = torch.tensor([number[character] for character in text])
    return ids[:-6600], ids[-6600:], characters


TASKS: dict[str, Callable[[Run, Homeostat | None], float]] = {
    "CNN": train_convolutions,
    "GPT": train_gpt,
    "LSTM": train_lstm,
}
UNITS = {"CNN": "error, %", "GPT": "nats per character", "LSTM": "nats per character"}
