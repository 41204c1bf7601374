"""`echo-reference transcribe`."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console

from echo_reference.commands.command import Command
from echo_reference.data.utterance import Utterance
from echo_reference.training.checkpoint import latest, load_reader, load_training
from echo_reference.training.evaluation import transcribe
from echo_reference.training.preparation import check_decoding, hear
from echo_reference.training.settings import Decoding, Device


class Transcribe(Command):
    """Write down what is said in audio files (WAV, FLAC, Ogg, MP3), one line a file."""

    run: CliPositionalArg[Path] = Field(description="folder of a run, or one of its checkpoints")
    files: CliPositionalArg[list[Path]] = Field(description="audio files", min_length=1)
    decoding: Decoding | None = Field(None, description="by default the run's own")
    device: Device = "cpu"

    def carry_out(self, console: Console) -> int:
        """Read the files and print their texts."""
        checkpoint = latest(self.run)
        decoding = self.decoding or load_training(checkpoint)["settings"]["decoding"]
        reader = load_reader(checkpoint, torch.device(self.device))
        check_decoding(decoding, reader.model.config)
        utterances = [Utterance(str(path), path, "") for path in self.files]
        texts = transcribe(reader, hear(utterances, reader.model.config.n_mels), decoding)
        for path, text in zip(self.files, texts, strict=True):
            line = f"{path}: {text}" if len(self.files) > 1 else text
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        return 0
