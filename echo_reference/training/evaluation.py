"""How well a model reads speech: transcripts, their error rates, and the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from echo_reference.data.batches import Batch
from echo_reference.decoding import ctc_greedy, greedy, joint
from echo_reference.features import LogMel
from echo_reference.metrics import Score, score
from echo_reference.model import Echo, EchoOutput
from echo_reference.tokens import CtcSymbols, Tokenizer
from echo_reference.training.settings import Decoding


class Reader(NamedTuple):
    """A model with what turns its output into text."""

    model: Echo
    tokenizer: Tokenizer
    symbols: CtcSymbols

    def features(self, samples: Tensor) -> Tensor:
        """Log-mel features (n_mels, T) of 16 kHz samples, as the model hears them."""
        mel: LogMel = self.model.config.log_mel()
        return mel(samples)


def quick_decoding(model: Echo) -> Decoding:
    """The cheapest decoding that shows what the model has learned: its CTC head reads well long before its decoder."""
    return "greedy" if model.ctc_head is None else "ctc"


def forward(model: Echo, batch: Batch, device: torch.device) -> EchoOutput:
    """Losses and logits of one batch."""
    return model(  # type: ignore[no-any-return]
        input_features=batch.features.to(device),
        feature_lengths=batch.feature_lengths.to(device),
        labels=batch.labels.to(device),
        ctc_targets=batch.ctc_labels.to(device),
    )


@torch.no_grad()
def mean_loss(model: Echo, batches: Sequence[Batch], device: torch.device) -> float:
    """Mean loss per clip, without dropout; leaves the model in the mode it was in."""
    training = model.training
    model.eval()
    losses = torch.tensor([forward(model, batch, device).loss for batch in batches])
    model.train(training)
    clips = torch.tensor([len(batch.ids) for batch in batches])
    return float((losses * clips).sum() / clips.sum())


@torch.no_grad()
def transcribe(
    reader: Reader, features: Sequence[Tensor], decoding: Decoding = "greedy", batch_size: int = 32
) -> list[str]:
    """Return the text of each clip, in the given order.

    Args:
        reader: the model and its vocabulary.
        features: one (n_mels, frames) per clip; batched by length, so that little padding is read.
        decoding: "greedy" by the decoder, "ctc" by the CTC head, "joint" by both.
        batch_size: clips decoded at once.
    """
    training = reader.model.training
    reader.model.eval()
    order = sorted(range(len(features)), key=lambda i: features[i].shape[1])
    texts = [""] * len(features)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        for i, text in zip(chosen, _read(reader, [features[i] for i in chosen], decoding), strict=True):
            texts[i] = text
    reader.model.train(training)
    return texts


def stack(features: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Features (n_mels, frames) of clips padded to the longest, (B, n_mels, T), and the frames of each, (B,)."""
    padded = pad_sequence([f.T for f in features], batch_first=True).transpose(1, 2)
    return padded.to(device), torch.tensor([f.shape[1] for f in features], device=device)


def word_errors(
    reader: Reader,
    features: Sequence[Tensor],
    references: Sequence[str],
    decoding: Decoding,
    style: Literal["digits", "sentences"] = "digits",
) -> tuple[Score, list[str]]:
    """Return the error rates over a set, and the transcripts."""
    hypotheses = transcribe(reader, features, decoding)
    return score(references, hypotheses, style), hypotheses


def _read(reader: Reader, features: Sequence[Tensor], decoding: Decoding) -> list[str]:
    padded, lengths = stack(features, reader.model.device)
    if decoding == "ctc":
        return [reader.symbols.decode(row) for row in ctc_greedy(reader.model, padded, lengths)]
    search = greedy if decoding == "greedy" else joint
    rows = search(reader.model, padded, lengths, prompt=reader.tokenizer.prompt_ids)
    return [reader.tokenizer.decode(row) for row in rows]
