"""The alphabet of a CTC head."""

from __future__ import annotations

from collections.abc import Iterable

from echo_reference.errors import DataError
from echo_reference.tokens.tokenizer import Tokenizer

_LARGEST = 4096


class CtcSymbols:
    """A tokenizer's text ids, shifted so that the blank is 0.

    symbol = token - `shift`, with shift = first_text_id - 1, and `size` = text_size + 1. Marks have no
    symbol. The decoder's tokenizer serves where it is small; beside Whisper's vocabulary give the head a
    `CharacterTokenizer` of its own, because CTC on 51865 tokens costs more than the rest of the model.

    Raises:
        DataError: the tokenizer has more than 4096 text ids.
    """

    blank = 0

    def __init__(self, tokenizer: Tokenizer) -> None:
        if tokenizer.text_size > _LARGEST:
            raise DataError(
                f"A CTC alphabet must have at most {_LARGEST} symbols; got {tokenizer.text_size}. "
                "Give the CTC head a CharacterTokenizer of its own."
            )
        self.tokenizer = tokenizer
        self.shift = tokenizer.first_text_id - 1
        self.size = tokenizer.text_size + 1

    def encode(self, text: str, *, clip: str = "") -> list[int]:
        """Symbols of a text, all above 0; raises as the tokenizer's `encode` does."""
        return [token - self.shift for token in self.tokenizer.encode(text, clip=clip)]

    def decode(self, symbols: Iterable[int]) -> str:
        """The text of the symbols; blanks are left out, repetitions kept."""
        return self.tokenizer.decode(symbol + self.shift for symbol in symbols if symbol != self.blank)
