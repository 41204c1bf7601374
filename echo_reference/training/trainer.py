"""The training loop of Echo: an ordinary PyTorch loop with `homeostat` attached by one line."""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import torch
from rich.console import Console

from echo_reference.data.corpora import load_corpus
from echo_reference.data.utterance import Corpus
from echo_reference.errors import CheckpointError
from echo_reference.metrics import Score
from echo_reference.training import checkpoint
from echo_reference.training.display import Display
from echo_reference.training.evaluation import Reader, forward, mean_loss, word_errors
from echo_reference.training.interruption import Interruption
from echo_reference.training.preparation import (
    build_controller,
    build_optimizer,
    build_reader,
    build_schedule,
    hear,
    prepare_material,
)
from echo_reference.training.settings import TrainSettings
from homeostat.sinks import JsonLines

TRACE = "trace.jsonl"


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
        settings: what to do.
        console: where to show progress.

    Raises:
        DataError: the corpus cannot be used.
        ConfigError: the settings describe no model.
        CheckpointError: there is nothing to resume, or `output` holds another run.
    """

    def __init__(self, settings: TrainSettings, console: Console) -> None:
        self.settings, self.console = settings, console
        self.device = torch.device(settings.device)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        saved = self._saved()
        torch.manual_seed(settings.seed)
        corpus = load_corpus(settings.data)
        self.reader = self._reader(corpus)
        self.material = prepare_material(settings, corpus, self.reader)
        self.model = self.reader.model.train()
        self.optimizer = build_optimizer(settings, self.model)
        self.schedule = build_schedule(settings, self.optimizer)
        settings.output.mkdir(parents=True, exist_ok=True)
        self.homeostat = build_controller(settings, (JsonLines(settings.output / TRACE),))
        self.step, self.seconds = 0, 0.0
        if self.homeostat:
            self.homeostat.attach(self.model, self.optimizer)
        if saved:
            self._restore(saved)

    def run(self) -> Outcome:
        """Train to the end, or until somebody asks to stop; then read the test split."""
        settings = self.settings
        with Interruption() as stop, Display(settings.steps, self.step, self.console) as display:
            while self.step < settings.steps and not stop.requested and not self._out_of_time():
                loss = self._step()
                if self.step % 10 == 0:
                    display.step(self.step, float(loss), self.seconds / self.step)
                if self.step % settings.evaluate_every == 0:
                    self._evaluate(display)
                if self.step % settings.checkpoint_every == 0:
                    self.save()
            interrupted = stop.requested
        self.save()
        if interrupted:
            return self._outcome(None, [], [])
        return self._judge()

    def save(self) -> None:
        """Write a checkpoint of this moment."""
        state: dict[str, Any] = {
            "settings": self.settings.model_dump(mode="json"),
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

    def _step(self) -> torch.Tensor:
        started = time.perf_counter()
        output = forward(self.model, self.material.train(self.step), self.device)
        loss = output.loss
        if loss is None:
            raise ValueError("A training batch must carry labels; got none. Check the corpus.")
        if self.homeostat:
            self.homeostat.observe(loss=loss)
        loss.backward()  # type: ignore[no-untyped-call]
        if not self.homeostat:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        self.step += 1
        self.seconds += time.perf_counter() - started
        return loss.detach()

    def _evaluate(self, display: Display) -> None:
        loss = mean_loss(self.model, self.material.validation, self.device)
        errors, _ = word_errors(self.reader, self.material.heard, self.material.said, "greedy")
        if self.homeostat:
            self.homeostat.observe(validation_loss=loss, validation_wer=errors.wer)
        display.evaluation(self.step, loss, errors.wer, self.homeostat.knobs if self.homeostat else {})

    def _judge(self) -> Outcome:
        references = [utterance.text for utterance in self.material.test]
        features = hear(self.material.test, self.model.config.n_mels)
        errors, transcripts = word_errors(self.reader, features, references, self.settings.decoding)
        return self._outcome(errors, references, transcripts)

    def _outcome(self, errors: Score | None, references: list[str], transcripts: list[str]) -> Outcome:
        return Outcome(self.step, self.seconds, errors is None, errors, references, transcripts)

    def _out_of_time(self) -> bool:
        return self.seconds >= 60 * (self.settings.minutes or math.inf)

    def _saved(self) -> dict[str, Any] | None:
        settings = self.settings
        if settings.resume:
            return checkpoint.load_training(checkpoint.latest(settings.output))
        if (settings.output / TRACE).exists():
            raise CheckpointError(
                f"A new run must have a folder of its own; got {settings.output}, which holds one. "
                "Continue it with --resume, or choose another --output."
            )
        return None

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
        checkpoint.restore_random_state(saved["random"])
