"""One recording with its transcript, and a corpus of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from echo_reference.errors import DataError

Samples: TypeAlias = NDArray[np.float32] | NDArray[np.int16]


class Utterance(NamedTuple):
    """One recording with its transcript.

    Attributes:
        id: unique in its set; error messages name it.
        audio: a file, or 16 kHz mono samples (float32 of full scale 1, or int16).
        text: what is said.
        duration: seconds; 0 where the source does not say.
        speaker: who speaks; "" where unknown.
    """

    id: str
    audio: Path | Samples
    text: str
    duration: float = 0.0
    speaker: str = ""


class Corpus(NamedTuple):
    """Utterances to learn from, to choose by, and to be judged by."""

    name: str
    train: Sequence[Utterance]
    validation: Sequence[Utterance]
    test: Sequence[Utterance]


def hold_out(utterances: Sequence[Utterance], share: float = 0.05) -> tuple[list[Utterance], list[Utterance]]:
    """Split off a validation part that depends on the utterances' ids only.

    The share with the smallest SHA-256 of the id is held out: at least one utterance, and the same ones
    whatever the order, so that neither seed nor resumption moves an utterance from one side to the other.

    Returns:
        (train, validation), each in the given order.

    Raises:
        DataError: there are fewer than two utterances.
    """
    if len(utterances) < 2:
        raise DataError(
            f"A set must have at least 2 utterances to hold out a validation part; got {len(utterances)}. "
            "Add recordings, or give a validation manifest."
        )
    digests = [hashlib.sha256(utterance.id.encode()).hexdigest() for utterance in utterances]
    limit = sorted(digests)[max(1, round(share * len(utterances))) - 1]
    kept = [u for u, digest in zip(utterances, digests, strict=True) if digest > limit]
    held = [u for u, digest in zip(utterances, digests, strict=True) if digest <= limit]
    return kept, held


def complete(name: str, train: list[Utterance], validation: list[Utterance], test: list[Utterance]) -> Corpus:
    """A corpus in which a missing test split is a tenth of train, and a missing validation a twentieth of it."""
    if not test:
        train, test = hold_out(train, 0.1)
    if not validation:
        train, validation = hold_out(train)
    return Corpus(name, train, validation, test)
