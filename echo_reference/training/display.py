"""What a person sees while a model trains."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

Knobs = Mapping[str, tuple[float, ...]]


class Display:
    """In a terminal a bar with loss, WER, speed and every knob; elsewhere one line an evaluation.

    Args:
        total: steps of the run.
        done: steps taken before.
        console: where to print.
    """

    def __init__(self, total: int, done: int, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("[bold]step[/]"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            expand=True,
        )
        self._task = self._bar.add_task("train", total=total, completed=done)
        self._status = self._read = ""
        self._knobs: Knobs = {}
        self._live = Live(console=console, get_renderable=self._view, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def step(self, done: int, loss: float, seconds_per_step: float, knobs: Knobs) -> None:
        """Show where training stands."""
        self._bar.update(self._task, completed=done)
        self._status = f"loss {loss:.3f}   {seconds_per_step * 1000:.0f} ms/step"
        self._knobs = knobs

    def evaluation(self, done: int, loss: float, wer: float, decoding: str, knobs: Knobs) -> None:
        """Print one line: how well the model reads, by which decoding, and where the knobs stand."""
        self._read = f"   WER {100 * wer:.1f} % ({decoding})"
        places = "" if self._console.is_terminal else "  ".join(f"{name} {place(knobs[name])}" for name in knobs)
        self._console.print(
            f"[bold]step {done}[/]  validation loss {loss:.3f}  WER {100 * wer:.1f} % ({decoding})  [dim]{places}[/]",
            highlight=False,
            soft_wrap=True,
        )

    def alarm(self, text: str) -> None:
        """Print a line that something went wrong while the run goes on."""
        self._console.print(Text(text, "red"), soft_wrap=True)

    def _view(self) -> RenderableType:
        knobs = [Text.assemble((f"{name} ", "dim"), place(values)) for name, values in self._knobs.items()]
        return Group(self._bar, Text(self._status + self._read), Columns(knobs, equal=True))


def place(values: tuple[float, ...]) -> str:
    """Where a loop's knobs stand, in three digits."""
    return ", ".join(f"{value:.3g}" for value in values)
