"""`echo-reference data`."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console
from rich.table import Table

from echo_reference.commands.command import Command
from echo_reference.data.corpora import load_corpus


class Data(Command):
    """Make or read a corpus and print what it holds."""

    data: CliPositionalArg[str] = Field("synthetic", description="corpus: synthetic, a folder or manifest, or hub:NAME")

    def carry_out(self, console: Console) -> int:
        """Load the corpus and count."""
        corpus = load_corpus(self.data)
        table = Table(title=corpus.name, title_justify="left")
        for heading in ("split", "clips", "minutes", "speakers", "words"):
            table.add_column(heading, justify="left" if heading == "split" else "right")
        for split in ("train", "validation", "test"):
            utterances = getattr(corpus, split)
            minutes = sum(utterance.duration for utterance in utterances) / 60
            speakers = {utterance.speaker for utterance in utterances}
            words = {word for utterance in utterances for word in utterance.text.split()}
            table.add_row(split, str(len(utterances)), f"{minutes:.1f}", str(len(speakers)), str(len(words)))
        console.print(table)
        return 0
