"""`echo-reference train`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field
from rich.console import Console
from rich.table import Table

from echo_reference.commands.command import Command
from echo_reference.commands.texts import show_transcripts
from echo_reference.training.settings import TrainSettings
from echo_reference.training.trainer import TRACE, Outcome, Trainer
from homeostat.report import write_report
from homeostat.sinks import read_run


def _new_folder() -> Path:
    return Path("runs") / f"echo-{datetime.now(tz=UTC):%Y%m%d-%H%M%S}"


class Train(TrainSettings, Command):
    """Train an Echo that regulates itself; ends with a word error rate, transcripts and a report."""

    output: Path = Field(default_factory=_new_folder, description="folder of the run; by default runs/echo-DATE-TIME")

    def carry_out(self, console: Console) -> int:
        """Train, judge on the test split, and write the report."""
        settings = TrainSettings.model_validate(self.model_dump())
        console.print(f"run {settings.output}: {settings.data}, recipe {settings.recipe}, {settings.steps} steps")
        trainer = Trainer(settings, console)
        try:
            outcome = trainer.run()
        finally:
            trainer.close()
        if outcome.score is None:
            console.print(f"Stopped at step {outcome.step}; continue with --resume --output {settings.output}")
            return 130
        self._show(settings, outcome, console)
        return 0

    def _show(self, settings: TrainSettings, outcome: Outcome, console: Console) -> None:
        assert outcome.score is not None  # noqa: S101 - the caller has asked; this tells the type checker
        show_transcripts(outcome.references, outcome.transcripts, console)
        result = {"step": outcome.step, "seconds": round(outcome.seconds, 1), **outcome.score._asdict()}
        (settings.output / "result.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
        if settings.recipe != "none":
            console.print(_knob_table(settings.output))
            console.print(f"report: {write_report(settings.output)}", soft_wrap=True)
        console.print(
            f"[bold]WER {100 * outcome.score.wer:.2f} %[/], CER {100 * outcome.score.cer:.2f} % on the test split "
            f"({len(outcome.references)} clips, {outcome.score.words} words) "
            f"after {outcome.step} steps, {outcome.seconds / 60:.1f} min of training",
            highlight=False,
        )


def _knob_table(folder: Path) -> Table:
    table = Table(title="knobs", title_justify="left")
    for heading in ("loop", "decisions", "start", "least", "greatest", "end", "limits"):
        table.add_column(heading, justify="left" if heading == "loop" else "right")
    run = read_run(folder / TRACE)
    limits = {
        loop["name"]: ", ".join(f"{a['low']:g} to {a['high']:g}" for a in loop["actuators"])
        for loop in run.description["loops"]
    }
    for name, columns in run.loops.items():
        values = columns["delivered.0"]
        places = [values[0], values.min(), values.max(), values[-1]]
        table.add_row(name, str(len(values)), *(f"{value:.4g}" for value in places), limits[name])
    return table
