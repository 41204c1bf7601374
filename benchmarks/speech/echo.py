"""Echo as a contender."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Any

import torch

from benchmarks.speech.clock import Average, rate_factor
from benchmarks.speech.tasks import Task
from echo_reference.config import EchoConfig
from echo_reference.model import Echo
from echo_reference.training.evaluation import Reader, forward, transcribe
from echo_reference.training.preparation import build_optimizer
from echo_reference.training.settings import Decoding, TrainSettings
from homeostat import Homeostat

# 2700 single digits are few enough to be learned by heart; strings are endless. 22 characters a second need 25
# positions a second.
_SETTINGS: dict[str, dict[str, Any]] = {
    "digits": {"dropout": 0.15},
    "speaker": {"dropout": 0.15},
    "strings": {},
    "sentences": {"subsampling": 4, "n_text_ctx": 128},
}


class EchoContender:
    """Echo, preset "digits", AdamW 4e-3, warm-up of 50 steps; with or without a recipe attached.

    Args:
        task: what to learn.
        recipe: the control system, if any.
        rate: peak learning rate.
        warmup: its steps.
        frozen: patterns of the names of parameters that stay as they begin.
        changes: to the configuration.
    """

    def __init__(
        self,
        task: Task,
        recipe: str | None = None,
        *,
        rate: float = 4e-3,
        warmup: int = 50,
        frozen: tuple[str, ...] = (),
        **changes: Any,
    ) -> None:
        self.task, self.rate, self.warmup = task, rate, warmup
        self.reader = Reader(_echo(task, changes), task.tokenizer, task.symbols)
        for name, parameter in self.reader.model.named_parameters():
            parameter.requires_grad_(not any(fnmatch(name, pattern) for pattern in frozen))
        self.optimizer = build_optimizer(TrainSettings(learning_rate=rate), self.reader.model)
        self.average = Average(self.reader.model)
        self.homeostat: Homeostat | None = None
        if recipe:
            self.homeostat = Homeostat.from_recipe(recipe).attach(self.reader.model, self.optimizer)

    def step(self, number: int, progress: float) -> None:
        """Take one step."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * rate_factor(number, self.warmup, progress)
        loss = forward(self.reader.model, self.task.batches(number), torch.device("cpu")).loss
        if loss is None:
            raise ValueError("A batch must have labels; got none. Use a corpus with transcripts.")
        if self.homeostat:
            self.homeostat.observe(loss=loss)
        loss.backward()  # type: ignore[no-untyped-call]
        if not self.homeostat:
            torch.nn.utils.clip_grad_norm_(self.reader.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def read(self) -> dict[str, list[str]]:
        """Transcribe the test set by decoder, CTC head and both, or by the decoder where there is no head."""
        kinds: tuple[Decoding, ...] = ("greedy", "ctc", "joint") if self.reader.model.ctc_head else ("greedy",)
        return {kind: transcribe(self.reader, self.task.test, kind, 100) for kind in kinds}


def _echo(task: Task, changes: dict[str, Any]) -> Echo:
    tokenizer, symbols = task.tokenizer, task.symbols
    settings: dict[str, Any] = {
        "vocab_size": tokenizer.vocab_size, "bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id,
        "decoder_start_token_id": tokenizer.bos_id, "pad_token_id": tokenizer.pad_id,
        "ctc_vocab": symbols.size, "ctc_shift": symbols.shift,
    }  # fmt: skip
    echo: Echo = Echo(EchoConfig.preset("digits", **{**settings, **_SETTINGS[task.name], **changes})).train()
    return echo
