"""The training loop of Echo: an ordinary PyTorch loop with `homeostat` attached by one line."""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import torch
import yaml
from rich.console import Console
from torch.nn.utils import clip_grad_norm_, get_total_norm

from echo_reference.data.corpora import load_corpus
from echo_reference.data.utterance import Corpus
from echo_reference.errors import CheckpointError, DivergenceError
from echo_reference.metrics import Score
from echo_reference.training import checkpoint
from echo_reference.training.display import Display
from echo_reference.training.evaluation import Reader, forward, mean_loss, quick_decoding, word_errors
from echo_reference.training.interruption import Interruption
from echo_reference.training.preparation import (
    build_controller,
    build_optimizer,
    build_reader,
    build_schedule,
    check_decoding,
    prepare_material,
)
from echo_reference.training.settings import TrainSettings
from echo_reference.training.start import usual_decoding
from homeostat import Sink
from homeostat.guards import restore_random_state
from homeostat.sinks import TRACE, JsonLines, TensorBoard

SETTINGS = "settings.yaml"
PATIENCE = 10
"""Steps in a row without a finite loss and gradient, after which a run has diverged."""


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
        step: optimizer steps done.
        seconds: spent training, evaluations and checkpoints left out.
        interrupted: it was stopped before its end.
        score: on the test split; None if interrupted.
        references: of the test split.
        transcripts: of the test split, as read.
    """

    step: int
    seconds: float
    interrupted: bool
    score: Score | None
    references: list[str]
    transcripts: list[str]


class Trainer:
    """One training run, from settings or from its last checkpoint.

    Args:
        settings: what to do; of a run to be continued, only what shall change.
        console: where to show progress.

    Attributes:
        settings: what is done, with what the continued run was started with.

    Raises:
        DataError: the corpus cannot be used.
        ConfigError: the settings describe no model.
        CheckpointError: there is nothing to resume, it cannot be continued so, or `output` holds another run.
    """

    def __init__(self, settings: TrainSettings, console: Console) -> None:
        saved = _saved(settings)
        self.settings = settings.continuing(saved["settings"]) if saved else settings
        self.console, self.device = console, torch.device(self.settings.device)
        torch.set_num_threads(self.settings.threads)
        checkpoint.seed(self.settings.seed)
        corpus = load_corpus(self.settings.data)
        self.reader = self._reader(corpus)
        if not saved and "decoding" not in settings.model_fields_set:
            self.settings = settings.model_copy(update={"decoding": usual_decoding(self.reader.model.config)})
        check_decoding(self.settings.decoding, self.reader.model.config)
        self.material = prepare_material(self.settings, corpus, self.reader)
        self.model = self.reader.model.train()
        self.optimizer = build_optimizer(self.settings, self.model)
        self.schedule = build_schedule(self.settings, self.optimizer)
        self.settings.output.mkdir(parents=True, exist_ok=True)
        self.homeostat = build_controller(self.settings, self._sinks())
        self.step, self.seconds, self._bad = 0, 0.0, 0
        if self.homeostat:
            self.homeostat.attach(self.model, self.optimizer)
        if saved:
            self._restore(saved)
        self._settle_in()

    def run(self) -> Outcome:
        """Train to the end, or until somebody asks to stop; then read the test split.

        Raises:
            DivergenceError: `PATIENCE` steps in a row had no finite loss and gradient.
        """
        settings = self.settings
        with Interruption() as stop, Display(settings.steps, self.step, self.console) as display:
            while self.step < settings.steps and not stop.requested and not self._out_of_time():
                loss = self._step(display)
                if self.step % 10 == 0:
                    display.step(self.step, float(loss), self.seconds / self.step, self._knobs())
                if self.step % settings.evaluate_every == 0:
                    self._evaluate(display)
                if self.step % settings.checkpoint_every == 0:
                    self.save()
            self.save()
        if stop.requested:
            return self._outcome(None, [], [])
        try:
            return self._judge()
        except KeyboardInterrupt:
            return self._outcome(None, [], [])

    def save(self) -> None:
        """Write a checkpoint of this moment, unless the last step went wrong: then the last good one stays."""
        if self._bad:
            return
        state: dict[str, Any] = {
            "settings": self.settings.model_dump(mode="json", exclude={"resume"}),
            "seconds": self.seconds,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "homeostat": self.homeostat.state_dict() if self.homeostat else None,
        }
        checkpoint.save(self.settings.output, self.step, self.reader, state, self.settings.keep_checkpoints)

    def close(self) -> None:
        """Detach the controller, leaving the knobs where they are."""
        if self.homeostat:
            self.homeostat.detach(keep=True)

    def _step(self, display: Display) -> torch.Tensor:
        started = time.perf_counter()
        output = forward(self.model, self.material.train(self.step), self.device)
        loss = output.loss
        if loss is None:
            raise ValueError("A training batch must carry labels; got none. Check the corpus.")
        if self.homeostat:
            self.homeostat.observe(loss=loss)
        loss.backward()  # type: ignore[no-untyped-call]
        if self._is_finite(loss):
            self.optimizer.step()
            self.schedule.step()
            self._bad = 0
        else:
            self._skip(display)
        self.optimizer.zero_grad()
        self.step += 1
        self.seconds += time.perf_counter() - started
        return loss.detach()

    def _is_finite(self, loss: torch.Tensor) -> bool:
        parameters = list(self.model.parameters())
        if self.homeostat:
            norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        else:
            norm = clip_grad_norm_(parameters, 1.0)
        return bool(torch.isfinite(loss.detach() + norm))

    def _skip(self, display: Display) -> None:
        """Leave out an update that would turn every weight into NaN."""
        self._bad += 1
        if self._bad == 1:
            display.alarm(f"step {self.step}: loss or gradient is not finite; its update is left out")
        if self._bad == PATIENCE:
            raise DivergenceError(
                f"Loss and gradient must stay finite; got {PATIENCE} steps in a row up to step {self.step} without. "
                f"The checkpoints in {self.settings.output} are from before: start anew with a lower --learning-rate."
            )

    def _evaluate(self, display: Display) -> None:
        decoding = quick_decoding(self.model)
        loss = mean_loss(self.model, self.material.validation, self.device)
        errors, _ = word_errors(self.reader, self.material.heard, self.material.said, decoding)
        if self.homeostat:
            self.homeostat.observe(validation_loss=loss, validation_wer=errors.wer)
        display.evaluation(self.step, loss, errors.wer, decoding, self._knobs())

    def _judge(self) -> Outcome:
        references = self.material.references
        errors, transcripts = word_errors(self.reader, self.material.test, references, self.settings.decoding)
        return self._outcome(errors, references, transcripts)

    def _outcome(self, errors: Score | None, references: list[str], transcripts: list[str]) -> Outcome:
        return Outcome(self.step, self.seconds, errors is None, errors, references, transcripts)

    def _out_of_time(self) -> bool:
        return self.seconds >= 60 * (self.settings.minutes or math.inf)

    def _knobs(self) -> dict[str, tuple[float, ...]]:
        return self.homeostat.knobs if self.homeostat else {}

    def _sinks(self) -> tuple[Sink, ...]:
        folder = self.settings.output
        board = (TensorBoard(folder / "tensorboard"),) if self.settings.tensorboard else ()
        return (JsonLines(folder / TRACE), *board)

    def _reader(self, corpus: Corpus) -> Reader:
        if self.settings.resume:
            return checkpoint.load_reader(checkpoint.latest(self.settings.output), self.device)
        reader = build_reader(self.settings, corpus)
        reader.model.to(self.device)
        return reader

    def _restore(self, saved: dict[str, Any]) -> None:
        self.step, self.seconds = saved["step"], saved["seconds"]
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        if self.homeostat and saved["homeostat"]:
            self.homeostat.load_state_dict(saved["homeostat"])
        # Last: making the data and the model has drawn random numbers.
        restore_random_state(saved["random"])

    def _settle_in(self) -> None:
        """Make the run one that can be continued, whatever happens from here on."""
        folder = self.settings.output
        checkpoint.clean(folder)
        settings = self.settings.model_dump(mode="json", exclude={"resume"})
        (folder / SETTINGS).write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        self.save()


def _saved(settings: TrainSettings) -> dict[str, Any] | None:
    if settings.resume:
        return checkpoint.load_training(checkpoint.latest(settings.output))
    if checkpoint.found(settings.output):
        raise CheckpointError(
            f"A new run must have a folder of its own; got {settings.output}, which holds one. "
            "Continue it with --resume, or choose another --output."
        )
    return None
