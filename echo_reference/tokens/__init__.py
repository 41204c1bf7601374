"""Text to token ids and back."""

from __future__ import annotations

from echo_reference.tokens.closed import CharacterTokenizer, WordTokenizer
from echo_reference.tokens.ctc import CtcSymbols
from echo_reference.tokens.tokenizer import Tokenizer, tokenizer_from_dict
from echo_reference.tokens.whisper import WhisperTokenizer

__all__ = [
    "CharacterTokenizer",
    "CtcSymbols",
    "Tokenizer",
    "WhisperTokenizer",
    "WordTokenizer",
    "tokenizer_from_dict",
]
