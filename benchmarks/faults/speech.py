"""The third training: a small Echo on synthesised digits."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.faults.training import DROPOUT, Change, Loader, Training
from echo_reference.config import EchoConfig
from echo_reference.data.batches import Batch, Clip, collate, evaluation_batches, make_clips
from echo_reference.data.corpora import load_corpus
from echo_reference.features import LogMel
from echo_reference.model import Echo
from echo_reference.tokens import CtcSymbols, WordTokenizer
from echo_reference.training.evaluation import forward
from echo_reference.training.preparation import build_optimizer, build_schedule
from echo_reference.training.settings import TrainSettings

# Pico alone, which every installation has: the samples are the same everywhere.
CORPUS = "synthetic:digits,train=600,validation=80,test=1,longest=1,espeak_share=0"
CPU = torch.device("cpu")


class Material(NamedTuple):
    """Clips with their vocabulary."""

    train: list[Clip]
    held: list[Clip]
    tokenizer: WordTokenizer
    symbols: CtcSymbols


@cache
def material() -> Material:
    """Synthesise the corpus, or take it from the cache."""
    corpus = load_corpus(CORPUS)
    tokenizer = WordTokenizer(sorted({word for utterance in corpus.train for word in utterance.text.split()}))
    symbols, mel = CtcSymbols(tokenizer), LogMel(40)
    train, held = (make_clips(part, mel, tokenizer, symbols) for part in (corpus.train, corpus.validation))
    return Material(train, held, tokenizer, symbols)


class Speech(Training):
    """An Echo of one layer a side on single spoken digits; both heads, free rotations, dropout."""

    recipe = "echo"

    def __init__(self, seed: int, steps: int = 160) -> None:
        torch.manual_seed(seed)
        self.steps = steps
        train, held, tokenizer, symbols = material()
        config = EchoConfig.preset(
            "digits", n_mels=40, n_audio_ctx=64, n_text_ctx=8, n_audio_state=96, n_text_state=96,
            n_audio_head=2, n_text_head=2, n_audio_layer=1, givens_rounds=2, dropout=DROPOUT,
            vocab_size=tokenizer.vocab_size, bos_token_id=tokenizer.bos_id, eos_token_id=tokenizer.eos_id,
            decoder_start_token_id=tokenizer.bos_id, pad_token_id=tokenizer.pad_id,
            ctc_vocab=symbols.size, ctc_shift=symbols.shift,
        )  # fmt: skip
        self.echo = self.model = Echo(config).train()
        settings = TrainSettings(steps=steps, warmup=20)
        self.optimizer = build_optimizer(settings, self.model)
        self.scheduler = build_schedule(settings, self.optimizer)
        self._held = evaluation_batches(held, tokenizer, len(held))

        def draw(generator: torch.Generator) -> Batch:
            chosen = torch.randint(len(train), (16,), generator=generator)
            return collate([train[i] for i in chosen.tolist()], tokenizer)

        self.loader = Loader(draw, seed, self.steps)

    def loss(self, batch: Batch) -> Tensor:
        """Return the sum of the decoder's, the CTC head's and the rotations' losses."""
        loss = forward(self.echo, batch, CPU).loss
        assert loss is not None
        return loss

    def held_out(self) -> float:
        """Return the cross-entropy of decoder and CTC head on voices that are not trained on.

        Not the weighted sum that is minimised, whose weights a controller moves.
        """
        self.model.eval()
        with torch.no_grad():
            (batch,) = self._held
            output = forward(self.echo, batch, CPU)
        self.model.train()
        assert output.ce_loss is not None
        assert output.ctc_loss is not None
        return float(output.ce_loss + output.ctc_loss)

    def with_inputs(self, batch: Batch, change: Change) -> Batch:
        """Change the log-mel features."""
        return batch._replace(features=change(batch.features))

    def with_shuffled_labels(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Give each clip another one's text."""
        order = torch.randperm(len(batch.ids), generator=generator)
        return batch._replace(labels=batch.labels[order], ctc_labels=batch.ctc_labels[order])

    def set_dropout(self, rate: float) -> None:
        """Turn the dial."""
        self.echo.dials.dropout.rate.set(rate)
