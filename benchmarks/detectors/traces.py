"""Clean trainings, recorded once: the loss of every step and the norm of its gradient.

Ordinary ones, and those whose losses have the heaviest tails or leave their level: batches of two, noisy labels, a
network that has learned its few data by heart, learning rates at the edge of stability, a schedule that restarts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import get_total_norm
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from benchmarks.foreign_loops import Convolutions, Recurrent, Run, SmallGPT, digits, next_character_loss, reference
from homeostat import Homeostat

Trace = NDArray[np.float64]
Steps = Iterator[tuple[Tensor, nn.Module]]


class Training(NamedTuple):
    """One clean training.

    Attributes:
        task: "CNN", "GPT" or "LSTM".
        optimizer: "adamw" or "sgd".
        rate: learning rate.
        batch: examples a step.
        steps: length.
        data: images, or characters, learned from; 0 for all.
        noise: share of labels that are random.
        restart: steps between two restarts of a cosine schedule; 0 for a constant rate.
    """

    task: str
    optimizer: str
    rate: float
    batch: int
    steps: int = 3000
    data: int = 0
    noise: float = 0.0
    restart: int = 0


TRAININGS = {
    "CNN": Training("CNN", "adamw", 3e-3, 64),
    "CNN, SGD at the edge": Training("CNN", "sgd", 0.5, 64),
    "CNN, batch of 2": Training("CNN", "adamw", 1e-3, 2, steps=4000),
    "CNN, one label in five random": Training("CNN", "adamw", 3e-3, 16, noise=0.2),
    "CNN, 100 noisy images by heart": Training("CNN", "adamw", 1e-3, 8, data=100, noise=0.3),
    "CNN, restarts": Training("CNN", "sgd", 0.1, 32, restart=300),
    "GPT": Training("GPT", "adamw", 3e-3, 16),
    "GPT, at the edge": Training("GPT", "adamw", 0.02, 16, steps=2000),
    "GPT, batch of 2": Training("GPT", "adamw", 1e-3, 2, steps=4000),
    "GPT, 500 characters by heart": Training("GPT", "adamw", 3e-3, 4, data=500),
    "LSTM": Training("LSTM", "adamw", 0.03, 16),
    "LSTM, SGD": Training("LSTM", "sgd", 1.0, 16),
    "LSTM, SGD at the edge": Training("LSTM", "sgd", 4.0, 16, steps=2000),
    "LSTM, batch of 2": Training("LSTM", "adamw", 3e-3, 2, steps=4000),
}
ECHO = "Echo"


def _images(training: Training) -> tuple[nn.Module, Callable[[], Tensor]]:
    images, labels, *_ = digits()
    count = training.data or len(images)
    wrong = torch.rand(count) < training.noise
    labels = torch.where(wrong, torch.randint(10, (count,)), labels[:count])
    model = Convolutions()

    def loss() -> Tensor:
        drawn = torch.randint(count, (training.batch,))
        return F.cross_entropy(model(images[drawn]), labels[drawn])

    return model, loss


def _characters(training: Training) -> tuple[nn.Module, Callable[[], Tensor]]:
    text, _, characters = reference()
    text = text[: training.data or len(text)]
    model = (SmallGPT if training.task == "GPT" else Recurrent)(len(characters))

    def loss() -> Tensor:
        starts = torch.randint(len(text) - 33, (training.batch, 1))
        return next_character_loss(model, text[starts + torch.arange(33)])

    return model, loss


def _train(training: Training) -> Steps:
    torch.manual_seed(0)
    model, draw = (_images if training.task == "CNN" else _characters)(training)
    optimizer, _ = Run(training.optimizer, training.rate, 0, training.steps, annealed=False).build(model)
    schedule = CosineAnnealingWarmRestarts(optimizer, training.restart) if training.restart else None
    for _ in range(training.steps):
        loss = draw()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        yield loss, model
        optimizer.step()
        if schedule is not None:
            schedule.step()


def _echo(steps: int = 1500) -> Steps:
    """Echo on spoken digits, its knobs moved by its recipe."""
    from echo_reference.data.corpora import load_corpus  # noqa: PLC0415 (with Echo's extra only)
    from echo_reference.training import preparation  # noqa: PLC0415
    from echo_reference.training.evaluation import forward  # noqa: PLC0415
    from echo_reference.training.settings import TrainSettings  # noqa: PLC0415

    torch.manual_seed(0)
    width = {"n_audio_state": 48, "n_audio_head": 3, "n_text_state": 48, "n_text_head": 3}
    settings = TrainSettings(data="synthetic:digits", steps=steps, batch_size=8, model=width)
    corpus = load_corpus(settings.data)
    reader = preparation.build_reader(settings, corpus)
    material, model = preparation.prepare_material(settings, corpus, reader), reader.model.train()
    optimizer = preparation.build_optimizer(settings, model)
    schedule = preparation.build_schedule(settings, optimizer)
    homeostat = Homeostat.from_recipe("echo", horizon=steps).attach(model, optimizer)
    for step in range(steps):
        loss = forward(model, material.train(step), torch.device("cpu")).loss
        assert loss is not None
        homeostat.observe(loss=loss)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        yield loss, model
        optimizer.step()
        schedule.step()


def record(name: str) -> Trace:
    """Train, and return the loss of every step and the norm of its gradient, shape (steps, 2)."""
    steps = _echo() if name == ECHO else _train(TRAININGS[name])
    rows = [
        (loss.item(), float(get_total_norm([p.grad for p in model.parameters() if p.grad is not None])))
        for loss, model in steps
    ]
    return np.array(rows)


def load(folder: Path, names: Sequence[str] = (*TRAININGS, ECHO)) -> dict[str, Trace]:
    """Return the traces kept in `folder`; what is not there is recorded first."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in names:
        path = folder / f"{name}.npy"
        if not path.exists():
            np.save(path, record(name))
            print(f"recorded: {name}", flush=True)
        found[name] = np.load(path)
    return found
