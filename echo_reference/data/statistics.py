"""What a corpus holds, in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from echo_reference.data.utterance import Corpus, Utterance


class Statistics(NamedTuple):
    """Sizes of one split.

    Attributes:
        clips: utterances.
        minutes: of speech, as far as the durations are known.
        speakers: different ones; an unnamed speaker counts as one.
        unseen_speakers: those that do not speak in train.
        words: in all transcripts.
        vocabulary: different words.
    """

    clips: int
    minutes: float
    speakers: int
    unseen_speakers: int
    words: int
    vocabulary: int


def statistics(corpus: Corpus) -> dict[str, Statistics]:
    """Sizes of the splits "train", "validation" and "test"."""
    known = {utterance.speaker for utterance in corpus.train}
    splits = {"train": corpus.train, "validation": corpus.validation, "test": corpus.test}
    return {name: _count(utterances, known) for name, utterances in splits.items()}


def _count(utterances: Sequence[Utterance], known: set[str]) -> Statistics:
    words = [word for utterance in utterances for word in utterance.text.split()]
    speakers = {utterance.speaker for utterance in utterances}
    return Statistics(
        clips=len(utterances),
        minutes=sum(utterance.duration for utterance in utterances) / 60,
        speakers=len(speakers),
        unseen_speakers=len(speakers - known),
        words=len(words),
        vocabulary=len(set(words)),
    )
