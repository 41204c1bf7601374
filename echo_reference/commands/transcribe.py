"""`echo-reference transcribe`."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console

from echo_reference.commands.command import Command
from echo_reference.data.utterance import Utterance
from echo_reference.training.checkpoint import latest, load_reader
from echo_reference.training.evaluation import transcribe
from echo_reference.training.preparation import hear
from echo_reference.training.settings import Decoding


class Transcribe(Command):
    """Write down what is said in audio files (WAV, FLAC, Ogg, MP3), one line a file."""

    run: CliPositionalArg[Path] = Field(description="folder of a run, or one of its checkpoints")
    files: CliPositionalArg[list[Path]] = Field(description="audio files", min_length=1)
    decoding: Decoding = "joint"
    device: str = "cpu"

    def carry_out(self, console: Console) -> int:
        """Read the files and print their texts."""
        reader = load_reader(latest(self.run), torch.device(self.device))
        utterances = [Utterance(str(path), path, "") for path in self.files]
        texts = transcribe(reader, hear(utterances, reader.model.config.n_mels), self.decoding)
        for path, text in zip(self.files, texts, strict=True):
            console.print(f"{path}: {text}" if len(self.files) > 1 else text, highlight=False, soft_wrap=True)
        return 0
