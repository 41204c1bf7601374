"""What a person sees while a model trains."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Display:
    """A progress bar with loss, speed and knobs in a terminal; one line an evaluation elsewhere.

    Args:
        total: steps of the run.
        done: steps taken before.
        console: where to print.
    """

    def __init__(self, total: int, done: int, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("[bold]step[/]"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("train", total=total, completed=done, status="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def step(self, done: int, loss: float, seconds_per_step: float) -> None:
        """Show where training stands."""
        status = f"loss {loss:.3f}  {seconds_per_step * 1000:.0f} ms/step"
        self._bar.update(self._task, completed=done, status=status)

    def evaluation(self, done: int, loss: float, wer: float, knobs: Mapping[str, tuple[float, ...]]) -> None:
        """Print one line: how well the model reads, and where the knobs stand."""
        places = "  ".join(f"{name} {', '.join(f'{v:.3g}' for v in values)}" for name, values in knobs.items())
        self._console.print(
            f"[bold]step {done}[/]  validation loss {loss:.3f}  WER {100 * wer:.1f} %  [dim]{places}[/]",
            highlight=False,
            soft_wrap=True,
        )
