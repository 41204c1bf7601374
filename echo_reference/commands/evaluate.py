"""`echo-reference evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console

from echo_reference.commands.command import Command
from echo_reference.commands.texts import error_rates, show_transcripts
from echo_reference.data.corpora import load_corpus
from echo_reference.training.checkpoint import latest, load_reader, load_training
from echo_reference.training.evaluation import word_errors
from echo_reference.training.preparation import check_decoding, hear
from echo_reference.training.settings import Decoding, Device


class Evaluate(Command):
    """Measure the word error rate of a trained Echo on a corpus."""

    run: CliPositionalArg[Path] = Field(description="folder of a run, or one of its checkpoints")
    data: str = Field("", description="corpus; by default the one the run was trained on")
    split: Literal["train", "validation", "test"] = "test"
    decoding: Decoding | None = Field(None, description="by default the run's own")
    style: Literal["digits", "sentences"] = Field("digits", description="how texts are normalised before scoring")
    device: Device = "cpu"

    def carry_out(self, console: Console) -> int:
        """Read the split and print the error rates."""
        checkpoint = latest(self.run)
        settings = load_training(checkpoint)["settings"]
        reader = load_reader(checkpoint, torch.device(self.device))
        decoding = self.decoding or settings["decoding"]
        check_decoding(decoding, reader.model.config)
        name = self.data or settings["data"]
        utterances = getattr(load_corpus(name), self.split)
        references = [utterance.text for utterance in utterances]
        features = hear(utterances, reader.model.config)
        errors, transcripts = word_errors(reader, features, references, decoding, self.style)
        show_transcripts(references, transcripts, console)
        console.print(
            f"{error_rates(errors, decoding)} on the {self.split} split of {name}, {len(references)} clips",
            highlight=False,
            soft_wrap=True,
        )
        return 0
