"""A corpus of tones that stand for words, and runs of a tiny Echo on it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from rich.console import Console

from echo_reference.commands import run
from echo_reference.training.settings import TrainSettings
from echo_reference.training.trainer import Outcome, Trainer

PITCHES = {"low": 300.0, "high": 1200.0, "peep": 3000.0}
TINY = {
    "n_mels": 16,
    "n_audio_state": 16,
    "n_audio_head": 2,
    "n_audio_layer": 1,
    "n_text_state": 16,
    "n_text_head": 2,
    "givens_rounds": 2,
    "n_text_ctx": 8,
    "dropout": 0.1,
}


def tone(word: str, seconds: float = 0.3, rate: int = 8000) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return 0.5 * np.sin(2 * np.pi * PITCHES[word] * time)


def write_corpus(folder: Path, train: int = 24, test: int = 6) -> Path:
    """Write a folder with train.jsonl and test.jsonl, one word a clip."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", train), ("test", test)):
        lines = []
        for i in range(count):
            word = list(PITCHES)[i % len(PITCHES)]
            name = f"{split}-{i}.wav"
            soundfile.write(folder / name, tone(word, 0.2 + 0.01 * (i % 5)), 8000)
            lines.append(json.dumps({"audio_filepath": name, "text": word}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def tiny_settings(corpus: Path, output: Path, **changes: Any) -> TrainSettings:
    values: dict[str, Any] = {
        "data": str(corpus),
        "output": output,
        "model": TINY,
        "steps": 24,
        "batch_size": 4,
        "warmup": 4,
        "evaluate_every": 6,
        "checkpoint_every": 12,
        "validation_clips": 4,
        "keep_checkpoints": 4,
    }
    return TrainSettings(**{**values, **changes})


def quiet_trainer(settings: TrainSettings) -> Trainer:
    return Trainer(settings, Console(quiet=True))


def continue_run(output: Path, **changes: Any) -> Trainer:
    return quiet_trainer(TrainSettings(output=output, resume=True, **changes))


def finish(trainer: Trainer) -> Outcome:
    try:
        return trainer.run()
    finally:
        trainer.close()


def command_in_child(arguments: list[str], log: Path) -> None:
    """Carry out a command as the process `echo-reference` does, printing to a file; for a process of its own."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    torch.set_num_threads(1)
    sys.exit(run(arguments))
