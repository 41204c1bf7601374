"""Recordings that a model hears whole, several at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from echo_reference.features import FRAMES_PER_SECOND
from echo_reference.longform.alignment import time_words
from echo_reference.longform.segments import Segment, Word, group
from echo_reference.training.evaluation import Reader, stack, transcribe
from echo_reference.training.settings import Decoding


def transcribe_short(
    reader: Reader, recordings: Sequence[Tensor], decoding: Decoding, *, timed: bool = True
) -> list[list[Segment]]:
    """What is said in each recording, and when; the words do not depend on `timed`.

    Args:
        reader: a model that writes no timestamps, and its vocabulary.
        recordings: (samples,) each, 16 kHz; none longer than the model has positions for.
        decoding: how they are read.
        timed: without it each text is one segment that lasts no time, and no CTC head is needed.
    """
    if timed:
        return [group(words) for words in read_words(reader, recordings, decoding)]
    texts = transcribe(reader, [reader.features(samples) for samples in recordings], decoding)
    return [[Segment(0.0, 0.0, " ".join(text.split()))] for text in texts]


@torch.no_grad()
def read_words(reader: Reader, recordings: Sequence[Tensor], decoding: Decoding) -> list[list[Word]]:
    """The words of each recording and when they are said, by the CTC head; arguments as of `transcribe_short`."""
    features = [reader.features(samples) for samples in recordings]
    texts = [text.split() for text in transcribe(reader, features, decoding)]
    audio, lengths = reader.model.encode(*stack(features, reader.model.device))
    assert reader.model.ctc_head is not None  # noqa: S101 - the caller has asked; this tells the type checker
    log_probs = reader.model.ctc_head(audio).float().log_softmax(-1)
    ends = [audio.shape[1]] * len(texts) if lengths is None else lengths.tolist()
    seconds = reader.model.config.subsampling / FRAMES_PER_SECOND
    return [
        time_words(words, reader.symbols, heard[:end], seconds) if words else []
        for words, heard, end in zip(texts, log_probs, ends, strict=True)
    ]
