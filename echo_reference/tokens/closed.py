"""Tokenizers with a small closed vocabulary, for small models."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

from echo_reference.errors import DataError
from echo_reference.tokens.tokenizer import Tokenizer


class _ClosedTokenizer(Tokenizer):
    """Ids 0, 1, 2 are padding, start and end; the symbols follow in the order given."""

    unit: ClassVar[str]
    joint: ClassVar[str]

    def __init__(self, symbols: Iterable[str]) -> None:
        self.symbols = tuple(symbols)
        if not self.symbols or len(set(self.symbols)) != len(self.symbols):
            raise DataError(
                f"A vocabulary must hold at least one {self.unit} and none twice; got {list(self.symbols)}. "
                f"Give each {self.unit} once, or use `from_texts`."
            )
        self.pad_id, self.bos_id, self.eos_id, self.first_text_id = 0, 1, 2, 3
        self.prompt_ids = (self.bos_id,)
        self.text_size = len(self.symbols)
        self.vocab_size = self.first_text_id + self.text_size
        self._ids = {symbol: self.first_text_id + i for i, symbol in enumerate(self.symbols)}

    @staticmethod
    @abstractmethod
    def split(text: str) -> Iterable[str]:
        """The units of a text, in order."""

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> Self:
        """A vocabulary of all that occurs in the texts, sorted."""
        return cls(sorted({symbol for text in texts for symbol in cls.split(text)}))

    def encode(self, text: str, *, clip: str = "") -> list[int]:
        """Ids of the text; see `Tokenizer.encode`."""
        ids = []
        for symbol in self.split(text):
            token = self._ids.get(symbol)
            if token is None:
                where = f" of clip {clip!r}" if clip else ""
                raise DataError(
                    f"Each {self.unit} of a text must be in the vocabulary of {self.text_size} symbols; got "
                    f"{symbol!r} in {text!r}{where}. Correct the transcript, or add it to the vocabulary."
                )
            ids.append(token)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids; marks are left out."""
        return self.joint.join(self.symbols[i - self.first_text_id] for i in ids if self.is_text(i))

    def to_dict(self) -> dict[str, Any]:
        """Kind and symbols."""
        return {"kind": self.kind, "symbols": list(self.symbols)}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(state["symbols"])


class CharacterTokenizer(_ClosedTokenizer):
    """One id per character: any text over a known alphabet.

    Args:
        symbols: the alphabet, each character once; the space is a character too.
    """

    kind = "character"
    unit = "character"
    joint = ""

    @staticmethod
    def split(text: str) -> Iterable[str]:
        """The characters."""
        return text


class WordTokenizer(_ClosedTokenizer):
    """One id per word: short label sequences where the words are few and known, as in spoken digits.

    Args:
        symbols: the words, each once.
    """

    kind = "word"
    unit = "word"
    joint = " "

    @staticmethod
    def split(text: str) -> Iterable[str]:
        """The words between white space."""
        return text.split()
