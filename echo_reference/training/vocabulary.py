"""Which tokenizer suits a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from echo_reference.data.utterance import Utterance
from echo_reference.errors import DataError
from echo_reference.tokens import CharacterTokenizer, CtcSymbols, Tokenizer, WhisperTokenizer, WordTokenizer

# Whole words are quicker to learn while each is heard often; a larger vocabulary is spelled.
_FEW_WORDS = 100


def choose_tokenizer(
    kind: Literal["auto", "word", "character", "whisper"], train: Sequence[Utterance], language: str = "en"
) -> Tokenizer:
    """Return a tokenizer over what the training transcripts hold; `language` is of Whisper's prompt.

    Raises:
        DataError: there is no transcript to learn a vocabulary from.
    """
    words = sorted({word for utterance in train for word in utterance.text.split()})
    if not words:
        raise DataError(f"Training transcripts must hold words; got none in {len(train)} clips. Check the key `text`.")
    if kind == "whisper":
        return WhisperTokenizer(language)
    if kind == "word" or (kind == "auto" and len(words) <= _FEW_WORDS):
        return WordTokenizer(words)
    return CharacterTokenizer(sorted({character for utterance in train for character in utterance.text}))


def choose_symbols(tokenizer: Tokenizer, train: Sequence[Utterance]) -> CtcSymbols:
    """Return the CTC head's alphabet: the tokenizer's own where it is small, else characters."""
    if isinstance(tokenizer, WhisperTokenizer):
        return CtcSymbols(CharacterTokenizer(sorted({c for utterance in train for c in utterance.text})))
    return CtcSymbols(tokenizer)
