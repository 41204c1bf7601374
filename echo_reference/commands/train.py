"""`echo-reference train`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field
from rich import box
from rich.console import Console
from rich.table import Table

from echo_reference.commands.command import Command
from echo_reference.commands.texts import error_rates, show_transcripts
from echo_reference.errors import CheckpointError
from echo_reference.training.settings import TrainSettings
from echo_reference.training.trainer import Outcome, Trainer
from homeostat.report import write_report
from homeostat.sinks import read_run

RESULT = "result.json"


def _new_folder() -> Path:
    return Path("runs") / f"echo-{datetime.now(tz=UTC):%Y%m%d-%H%M%S}"


class Train(TrainSettings, Command):
    """Train an Echo that regulates itself; ends with a word error rate, transcripts and a report."""

    model_config = Command.model_config

    output: Path = Field(default_factory=_new_folder, description="folder of the run; by default runs/echo-DATE-TIME")

    def carry_out(self, console: Console) -> int:
        """Train, judge on the test split, and write the report."""
        trainer = Trainer(self._settings(), console)
        settings = trainer.settings
        console.print(
            f"run {settings.output}: {settings.data}, recipe {settings.recipe}, "
            f"step {trainer.step} of {settings.steps}",
            highlight=False,
            soft_wrap=True,
        )
        try:
            outcome = trainer.run()
        finally:
            trainer.close()
        if outcome.score is None:
            console.print(
                f"Stopped at step {outcome.step}. "
                f"Continue with: echo-reference train --resume --output {settings.output}",
                highlight=False,
                soft_wrap=True,
            )
            return 130
        self._show(settings, outcome, console)
        return 0

    def _settings(self) -> TrainSettings:
        if self.resume and "output" not in self.model_fields_set:
            raise CheckpointError(
                "A run to be continued must be named; got --resume alone. Give its folder with --output."
            )
        # Only what was given by name, so that a continued run keeps the rest as it was.
        return TrainSettings.model_validate({**self.model_dump(exclude_unset=True), "output": self.output})

    def _show(self, settings: TrainSettings, outcome: Outcome, console: Console) -> None:
        assert outcome.score is not None  # noqa: S101 - the caller has asked; this tells the type checker
        show_transcripts(outcome.references, outcome.transcripts, console)
        result = {
            "step": outcome.step,
            "seconds": round(outcome.seconds, 1),
            "decoding": settings.decoding,
            **outcome.score._asdict(),
        }
        (settings.output / RESULT).write_text(json.dumps(result, indent=1), encoding="utf-8")
        if settings.recipe != "none":
            console.print(_knob_table(settings.output))
            console.print(f"report: {write_report(settings.output)}", highlight=False, soft_wrap=True)
        console.print(
            f"{error_rates(outcome.score, settings.decoding)} on the test split, {len(outcome.references)} clips, "
            f"after {outcome.step} steps, {outcome.seconds / 60:.1f} min of training",
            highlight=False,
            soft_wrap=True,
        )


def _knob_table(folder: Path) -> Table:
    table = Table(title="knobs", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("loop", no_wrap=True)
    for heading in ("moves", "start", "least", "greatest", "end", "limits"):
        table.add_column(heading, justify="right", no_wrap=True)
    run = read_run(folder)
    for loop in run.description["loops"]:
        columns = run.loops.get(loop["name"], {})
        for i, actuator in enumerate(loop["actuators"]):
            values = columns.get(f"delivered.{i}")
            limits = f"{actuator['low']:.3g} .. {actuator['high']:.3g}"
            if values is None:
                table.add_row(loop["name"], "0", "", "", "", "", limits)
                continue
            places = [values[0], values.min(), values.max(), values[-1]]
            moves = int((values[1:] != values[:-1]).sum())
            table.add_row(loop["name"], str(moves), *(f"{value:.3g}" for value in places), limits)
    return table
