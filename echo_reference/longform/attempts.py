"""One window read until its transcript is plausible."""

from __future__ import annotations

import math
import zlib
from typing import NamedTuple

import torch
from torch import Tensor

from echo_reference.model import Echo
from echo_reference.tokens import WhisperTokenizer


class Doubts(NamedTuple):
    """When a transcript is not believed, and how it is read again; Radford et al. 2022, section 4.5.

    Attributes:
        temperatures: of the attempts in turn: 0 takes the most probable token, above 0 they are drawn. The first
            believed transcript counts, else the last.
        repetition: text that zlib makes smaller than by this factor is believed; loops of words are not.
        log_probability: least mean over the tokens.
        silence: probability of no speech above which an improbable transcript is none at all.
    """

    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    repetition: float = 2.4
    log_probability: float = -1.0
    silence: float = 0.6


class Attempt(NamedTuple):
    """One reading of a window: its tokens, prompt included, and how probable they are on average."""

    tokens: list[int]
    log_probability: float


def read_window(
    model: Echo, tokenizer: WhisperTokenizer, features: Tensor, lengths: Tensor, doubts: Doubts
) -> list[int]:
    """Return the tokens of one window with timestamps, prompt included; the prompt alone where nobody speaks.

    Args:
        model: an Echo with Whisper's vocabulary.
        tokenizer: of that vocabulary.
        features: (1, n_mels, T).
        lengths: (1,) frames.
        doubts: what is not believed.
    """
    encoded = model.get_encoder()(features, feature_lengths=lengths)
    silence = _silence(model, tokenizer, encoded.last_hidden_state, lengths)
    attempt = Attempt([], -math.inf)
    for temperature in doubts.temperatures:
        attempt = _read(model, tokenizer, encoded, lengths, temperature)
        improbable = attempt.log_probability < doubts.log_probability
        if improbable and silence > doubts.silence:
            return [tokenizer.marks.start]
        if not improbable and _repetition(tokenizer.decode(attempt.tokens)) <= doubts.repetition:
            break
    return attempt.tokens


def _read(model: Echo, tokenizer: WhisperTokenizer, encoded: object, lengths: Tensor, temperature: float) -> Attempt:
    multilingual = tokenizer.marks.multilingual
    written = model.generate(
        encoder_outputs=encoded,
        feature_lengths=lengths,
        language=tokenizer.language if multilingual else None,
        task=tokenizer.task,
        return_timestamps=True,
        do_sample=temperature > 0,
        temperature=temperature or None,
        top_k=0 if temperature > 0 else None,
        return_dict_in_generate=True,
        output_scores=True,
    )
    tokens: list[int] = written.sequences[0].tolist()
    # Scores are what the tokens were drawn by: undivided, they are the model's own, among what the rules allow.
    chosen = written.sequences[0, -len(written.scores) :]
    scores = torch.cat(written.scores).float() * (temperature or 1.0)
    return Attempt(tokens, float(scores.log_softmax(-1).gather(1, chosen[:, None]).mean()))


def _silence(model: Echo, tokenizer: WhisperTokenizer, audio: Tensor, lengths: Tensor) -> float:
    """Return what the model gives, as first token, to there being no speech."""
    start = torch.tensor([[tokenizer.marks.start]], device=audio.device)
    logits = model(encoder_outputs=(audio,), feature_lengths=lengths, decoder_input_ids=start).logits
    return float(logits[0, 0].float().softmax(-1)[tokenizer.marks.no_speech])


def _repetition(text: str) -> float:
    data = text.encode()
    return len(data) / len(zlib.compress(data))
