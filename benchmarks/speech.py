"""WER against minutes of one core: Whisper's architecture and Echo, from scratch, side by side in one run.

    python -m benchmarks.speech DATA --task digits  --minutes 1 2 3
    python -m benchmarks.speech DATA --task strings --minutes 1 2 3 5

DATA is a folder with train.jsonl and test.jsonl of single spoken digits and their speakers (the Free Spoken Digit
Dataset). "strings" joins 1 to 5 recordings of one speaker with random pauses in 3 s. Every contender gets the same
clips, word tokens, batch size and number of cores (one each, at the same time). For all of them the learning rate
falls linearly to a twentieth over the minutes given, and what is read at a mark is an exponential average of the
weights (0.98), on the same test set. The clock counts the training process's own CPU time, single-threaded, so that a
busy machine favours nobody; reading the test set stops the clock. Results are kept under benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import WhisperConfig, WhisperForConditionalGeneration

from echo_reference.data.batches import TrainingBatches, make_clips
from echo_reference.data.corpora import load_corpus
from echo_reference.data.strings import DigitStrings
from echo_reference.data.utterance import Utterance
from echo_reference.features import LogMel
from echo_reference.metrics import score
from echo_reference.tokens import CtcSymbols, WordTokenizer
from echo_reference.training.evaluation import Reader, forward, transcribe
from echo_reference.training.preparation import build_optimizer
from echo_reference.training.settings import TrainSettings
from homeostat import Homeostat

RESULTS = Path(__file__).parent / "results"
BATCH = 32
TRAIN_STRINGS = 6000
TEST_STRINGS = 400


class Task(NamedTuple):
    """What is learned: features and batches of training clips, features and texts of test clips."""

    batches: TrainingBatches
    tokenizer: WordTokenizer
    symbols: CtcSymbols
    test: list[Tensor]
    texts: list[str]
    frames: int


class Average:
    """An exponential average of a model's weights, which can stand in for them."""

    def __init__(self, model: nn.Module, keep: float = 0.98) -> None:
        self._weights = [p.detach() for p in model.parameters()]
        self._means = [w.clone() for w in self._weights]
        self._keep = keep

    def update(self) -> None:
        """Take in the weights after a step."""
        torch._foreach_lerp_(self._means, self._weights, 1 - self._keep)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average in the model's place for a while."""
        kept = [w.clone() for w in self._weights]
        torch._foreach_copy_(self._weights, self._means)
        yield
        torch._foreach_copy_(self._weights, kept)


class Contender(Protocol):
    """A model in training."""

    average: Average

    def step(self, number: int, progress: float) -> None:
        """Take training step `number`, with `progress` in [0, 1] of the time gone."""

    def read(self) -> dict[str, list[str]]:
        """Transcribe the test set, by each way of decoding."""


def rate_factor(step: int, warmup: int, progress: float) -> float:
    """Warm up by steps, then fall linearly to a twentieth with the time."""
    return min(1.0, (step + 1) / warmup) * (1.0 - 0.95 * progress)


def make_task(data: Path, name: str, seed: int) -> Task:
    """Features in memory, before any clock starts."""
    corpus = load_corpus(data)
    train: Sequence[Utterance] = [*corpus.train, *corpus.validation]
    test: Sequence[Utterance] = corpus.test
    if name == "strings":
        train = DigitStrings(train, seed).take(TRAIN_STRINGS)
        test = DigitStrings(corpus.test, seed + 1).take(TEST_STRINGS)
    tokenizer = WordTokenizer(sorted({word for utterance in train for word in utterance.text.split()}))
    symbols, mel = CtcSymbols(tokenizer), LogMel()
    clips = make_clips(train, mel, tokenizer, symbols)
    heard = make_clips(test, mel, tokenizer, symbols, strict=True)
    batches = TrainingBatches(clips, tokenizer, BATCH, seed)
    return Task(batches, tokenizer, symbols, [c.features for c in heard], [c.text for c in heard], 300)


class Whisper:
    """Hugging Face's Whisper with SDPA, AdamW 1e-3, warm-up of 200 steps."""

    def __init__(self, task: Task, name: str) -> None:
        width = 96 if name == "digits" else 128
        # A digit lasts less than 1 s in all but 20 of 3000 recordings; those are cut, as Whisper cuts at 30 s.
        self.frames = 100 if name == "digits" else task.frames
        tokenizer = task.tokenizer
        config = WhisperConfig(
            vocab_size=tokenizer.vocab_size, num_mel_bins=80, max_source_positions=self.frames // 2,
            max_target_positions=16, d_model=width, encoder_layers=2, decoder_layers=2,
            encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width,
            decoder_start_token_id=tokenizer.bos_id, bos_token_id=tokenizer.bos_id, eos_token_id=tokenizer.eos_id,
            pad_token_id=tokenizer.pad_id, suppress_tokens=None, begin_suppress_tokens=None,
        )  # fmt: skip
        self.task = task
        self.model = WhisperForConditionalGeneration(config).train()
        self.model.generation_config.suppress_tokens = None
        self.model.generation_config.begin_suppress_tokens = None
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.average = Average(self.model)

    def step(self, number: int, progress: float) -> None:
        """Take one step."""
        self.optimizer.param_groups[0]["lr"] = 1e-3 * rate_factor(number, 200, progress)
        batch = self.task.batches(number)
        loss = self.model(input_features=self._fit(batch.features), labels=batch.labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    @torch.no_grad()
    def read(self) -> dict[str, list[str]]:
        """Transcribe the test set."""
        self.model.eval()
        texts: list[str] = []
        for start in range(0, len(self.task.test), 100):
            features = torch.stack([self._fit(f) for f in self.task.test[start : start + 100]])
            audio = self.model.get_encoder()(features).last_hidden_state
            texts += [self.task.tokenizer.decode(row) for row in self._greedy(audio)]
        self.model.train()
        return {"greedy": texts}

    def _greedy(self, audio: Tensor) -> list[list[int]]:
        tokenizer = self.task.tokenizer
        tokens = torch.full((len(audio), 1), tokenizer.bos_id)
        done = torch.zeros(len(audio), dtype=torch.bool)
        for _ in range(8):
            logits = self.model(encoder_outputs=(audio,), decoder_input_ids=tokens).logits[:, -1]
            best = logits.argmax(-1).masked_fill(done, tokenizer.eos_id)
            done |= best == tokenizer.eos_id
            tokens = torch.cat([tokens, best[:, None]], 1)
        rows: list[list[int]] = tokens[:, 1:].tolist()
        return rows

    def _fit(self, features: Tensor) -> Tensor:
        return F.pad(features, (0, max(0, self.frames - features.shape[-1])))[..., : self.frames]


class EchoContender:
    """Echo, preset "digits", AdamW 4e-3, warm-up of 50 steps; with or without a recipe attached."""

    def __init__(self, task: Task, recipe: str | None, rate: float = 4e-3, **changes: Any) -> None:
        self.task, self.rate = task, rate
        from echo_reference.config import EchoConfig  # noqa: PLC0415 - imports transformers' model code
        from echo_reference.model import Echo  # noqa: PLC0415

        tokenizer, symbols = task.tokenizer, task.symbols
        config = EchoConfig.preset(
            "digits",
            vocab_size=tokenizer.vocab_size, bos_token_id=tokenizer.bos_id, eos_token_id=tokenizer.eos_id,
            decoder_start_token_id=tokenizer.bos_id, pad_token_id=tokenizer.pad_id,
            ctc_vocab=symbols.size, ctc_shift=symbols.shift, **changes,
        )  # fmt: skip
        self.reader = Reader(Echo(config).train(), tokenizer, symbols)
        self.optimizer = build_optimizer(TrainSettings(learning_rate=rate), self.reader.model)
        self.average = Average(self.reader.model)
        self.homeostat: Homeostat | None = None
        if recipe:
            self.homeostat = Homeostat.from_recipe(recipe).attach(self.reader.model, self.optimizer)

    def step(self, number: int, progress: float) -> None:
        """Take one step."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * rate_factor(number, 50, progress)
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
        """Transcribe the test set."""
        return {kind: transcribe(self.reader, self.task.test, kind, 100) for kind in ("greedy", "ctc", "joint")}


def _echo(task: Task, name: str, recipe: str | None) -> EchoContender:
    # 2700 single digits are few enough to be learned by heart; strings are endless.
    return EchoContender(task, recipe, dropout=0.15 if name == "digits" else 0.0)


CONTENDERS: dict[str, Callable[[Task, str], Contender]] = {
    "whisper": Whisper,
    "echo": lambda task, name: _echo(task, name, None),
    "echo+recipe": lambda task, name: _echo(task, name, "echo"),
}


def contend(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train one contender in this process and judge it at each mark."""
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    task = make_task(arguments.data, arguments.task, arguments.seed)
    contender = CONTENDERS[arguments.contender](task, arguments.task)
    spent, number, curve = 0.0, 0, []
    for mark in arguments.minutes:
        while spent < 60 * mark:
            started = time.process_time()
            contender.step(number, spent / (60 * arguments.minutes[-1]))
            contender.average.update()
            spent += time.process_time() - started
            number += 1
        with contender.average.in_place():
            errors = {kind: score(task.texts, texts).wer for kind, texts in contender.read().items()}
        curve.append({"minutes": mark, "steps": number, "wer": errors})
        shown = ", ".join(f"{kind} {100 * wer:.2f} %" for kind, wer in errors.items())
        print(f"{arguments.contender:<12} {mark:>4g} min  {number:>6} steps  WER {shown}", file=sys.stderr, flush=True)
    return {"contender": arguments.contender, "ms_per_step": 1000 * spent / number, "curve": curve}


def side_by_side(arguments: argparse.Namespace) -> None:
    """Start each contender on a core of its own, two at a time, and gather their curves."""
    names = arguments.contenders or list(CONTENDERS)
    cores = sorted(os.sched_getaffinity(0))
    results: list[dict[str, Any]] = []
    for first in range(0, len(names), len(cores)):
        running = [
            subprocess.Popen(
                [
                    "taskset", "-c", str(core), sys.executable, "-m", "benchmarks.speech", str(arguments.data),
                    "--task", arguments.task, "--seed", str(arguments.seed), "--contender", name,
                    "--minutes", *map(str, arguments.minutes),
                ],
                stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            for core, name in zip(cores, names[first : first + len(cores)], strict=False)
        ]  # fmt: skip
        results += [json.loads(process.communicate()[0]) for process in running]
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"speech-{arguments.task}-seed{arguments.seed}.json"
    target.write_text(json.dumps({"task": arguments.task, "batch": BATCH, "results": results}, indent=1) + "\n")
    print(_table(results, arguments.minutes))
    print(f"raw: {target}")


def _table(results: list[dict[str, Any]], minutes: Sequence[float]) -> str:
    lines = [
        f"| contender | ms a step | {' | '.join(f'{m:g} min' for m in minutes)} |",
        "|---" * (len(minutes) + 2) + "|",
    ]
    for result in results:
        for kind in result["curve"][0]["wer"]:
            cells = " | ".join(f"{100 * point['wer'][kind]:.2f} %" for point in result["curve"])
            lines.append(f"| {result['contender']}, {kind} | {result['ms_per_step']:.0f} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Run one contender, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--task", choices=("digits", "strings"), default="strings")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 2, 3, 5])
    parser.add_argument("--contenders", nargs="*", choices=sorted(CONTENDERS))
    parser.add_argument("--contender", choices=sorted(CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.contender:
        print(json.dumps(contend(arguments)))
    else:
        side_by_side(arguments)


if __name__ == "__main__":
    main()
