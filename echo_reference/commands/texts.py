"""How results are put into words."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from echo_reference.metrics import Score

_SHOWN = 8


def show_transcripts(references: Sequence[str], transcripts: Sequence[str], console: Console) -> None:
    """Print a few transcripts, evenly taken from the set, right and wrong as they come."""
    table = Table(title="transcripts", title_justify="left")
    table.add_column("said")
    table.add_column("read")
    for i in range(0, len(references), max(1, -(-len(references) // _SHOWN))):
        said, read = escape(references[i]), escape(transcripts[i]) or "(nothing)"
        table.add_row(said, read if references[i] == transcripts[i] else f"[red]{read}[/]")
    console.print(table)


def error_rates(score: Score, decoding: str) -> str:
    """The error rates in one phrase, in the console's markup."""
    return (
        f"[bold]WER {100 * score.wer:.2f} %[/] ({decoding}), CER {100 * score.cer:.2f} %: of {score.words} words "
        f"{score.substitutions} substituted, {score.deletions} deleted, {score.insertions} inserted;"
    )
