"""Word and character error rates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jiwer

from echo_reference.errors import DataError, MissingPackageError

_NOT_WORD = re.compile(r"[^\w\s']|_")


class Score(NamedTuple):
    """Errors over a set, as fractions of what the references hold; both may exceed 1."""

    wer: float
    cer: float
    substitutions: int
    deletions: int
    insertions: int
    words: int


def normalise(text: str, style: Literal["digits", "sentences"] = "digits") -> str:
    """The text as it is scored.

    Args:
        text: a reference or hypothesis.
        style: "digits" lowers case and strips punctuation. "sentences" applies Whisper's English normaliser,
            which also joins number words: "one two three" becomes "123", a single word, so strings of
            numbers scored with it count one error where three were made.
    """
    if style == "digits":
        return " ".join(_NOT_WORD.sub(" ", text.lower()).split())
    try:
        from whisper_normalizer.english import EnglishTextNormalizer  # noqa: PLC0415 - an optional package
    except ImportError as error:
        raise MissingPackageError(
            "Scoring sentences must use Whisper's normaliser; got no package whisper-normalizer. "
            "Run `pip install whisper-normalizer`."
        ) from error
    return str(EnglishTextNormalizer()(text))


def score(
    references: Sequence[str], hypotheses: Sequence[str], style: Literal["digits", "sentences"] = "digits"
) -> Score:
    """Errors of the hypotheses against the references, pooled over the set.

    WER = (substitutions + deletions + insertions) / words of the references; CER likewise on characters.
    Words inserted where a reference is empty count as insertions.

    Raises:
        DataError: the lists differ in length, or no reference has a word.
    """
    if len(references) != len(hypotheses):
        raise DataError(
            f"References and hypotheses must be equally many; got {len(references)} and {len(hypotheses)}. "
            "Pair each reference with its hypothesis."
        )
    truth = [normalise(text, style) for text in references]
    guess = [normalise(text, style) for text in hypotheses]
    if not any(truth):
        raise DataError(
            f"References must hold at least one word; got none in {len(truth)} texts. Score a set with transcripts."
        )
    words = jiwer.process_words(truth, guess)
    characters = jiwer.process_characters(truth, guess)
    total = words.hits + words.substitutions + words.deletions
    return Score(words.wer, characters.cer, words.substitutions, words.deletions, words.insertions, total)
