"""What is learned, from the recordings on disk to batches in memory, before any clock starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from echo_reference.data.augmentation import Augmentation
from echo_reference.data.batches import TrainingBatches, make_clips
from echo_reference.data.corpora import load_corpus
from echo_reference.data.strings import DigitStrings
from echo_reference.data.utterance import Corpus, Utterance
from echo_reference.features import LogMel
from echo_reference.tokens import CharacterTokenizer, CtcSymbols, Tokenizer, WordTokenizer

BATCH_SIZE = {"digits": 32, "strings": 32, "speaker": 32, "sentences": 16}
"""Clips in a batch. There are few sentences, and they are long: more steps count for more than smoother ones."""

TASKS = tuple(BATCH_SIZE)
TRAIN_STRINGS = 6000
TEST_STRINGS = 400


class Task(NamedTuple):
    """What is learned: features and batches of training clips, features and texts of test clips."""

    name: str
    batches: TrainingBatches
    tokenizer: Tokenizer
    symbols: CtcSymbols
    test: list[Tensor]
    texts: list[str]
    speaker: str


def make_task(
    data: Path, name: str, seed: int, augmentation: Augmentation | None = None, mel: LogMel | None = None
) -> Task:
    """Features in memory.

    Args:
        data: folder of the manifests.
        name: one of `TASKS`.
        seed: of the strings that are drawn and the order of batches; chooses the unseen speaker.
        augmentation: of the training clips, drawn anew for every batch.
        mel: makes the features; Whisper's if left out.
    """
    train, test, speaker = split(load_corpus(data), name, seed)
    texts = [utterance.text for utterance in train]
    tokenizer = (CharacterTokenizer if name == "sentences" else WordTokenizer).from_texts(texts)
    symbols, mel = CtcSymbols(tokenizer), mel or LogMel()
    clips = make_clips(train, mel, tokenizer, symbols)
    heard = make_clips(test, mel, tokenizer, symbols, strict=True)
    batches = TrainingBatches(clips, tokenizer, BATCH_SIZE[name], seed, augmentation=augmentation)
    return Task(name, batches, tokenizer, symbols, [c.features for c in heard], [c.text for c in heard], speaker)


def split(corpus: Corpus, name: str, seed: int) -> tuple[Sequence[Utterance], Sequence[Utterance], str]:
    """What is learned from, what is read, and who speaks only there."""
    train = [*corpus.train, *corpus.validation]
    if name == "strings":
        test = DigitStrings(corpus.test, seed + 1).take(TEST_STRINGS)
        return DigitStrings(train, seed).take(TRAIN_STRINGS), test, ""
    if name != "speaker":
        return train, corpus.test, ""
    everyone = [*train, *corpus.test]
    speakers = sorted({utterance.speaker for utterance in everyone})
    unseen = speakers[seed % len(speakers)]
    known = [utterance for utterance in everyone if utterance.speaker != unseen]
    return known, [utterance for utterance in everyone if utterance.speaker == unseen], unseen
