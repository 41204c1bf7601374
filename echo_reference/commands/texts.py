"""Showing transcripts beside what was said."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

_SHOWN = 8


def show_transcripts(references: Sequence[str], transcripts: Sequence[str], console: Console) -> None:
    """Print a few transcripts, evenly taken from the set, right and wrong as they come."""
    table = Table(title="transcripts", title_justify="left")
    table.add_column("said")
    table.add_column("read")
    for i in range(0, len(references), max(1, len(references) // _SHOWN)):
        right = references[i] == transcripts[i]
        table.add_row(references[i], transcripts[i] if right else f"[red]{transcripts[i] or '(nothing)'}[/]")
    console.print(table)
