"""The role every tokenizer plays, and how a checkpoint finds its own again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

from echo_reference.errors import DataError

_KINDS: dict[str, type[Tokenizer]] = {}


class Tokenizer(ABC):
    """Turns text into ids and back.

    Ids that stand for text are the contiguous range `first_text_id ... first_text_id + text_size - 1`; all
    others are marks (start, end, padding, language, ...) that `decode` leaves out.

    Attributes:
        kind: the name under which `to_dict` stores the class.
        prompt_ids: what a decoder is given before the text; its first id is `bos_id`.
    """

    kind: ClassVar[str]
    vocab_size: int
    bos_id: int
    eos_id: int
    pad_id: int
    prompt_ids: tuple[int, ...]
    first_text_id: int
    text_size: int

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" in cls.__dict__:
            _KINDS[cls.kind] = cls

    @abstractmethod
    def encode(self, text: str, *, clip: str = "") -> list[int]:
        """Ids of the text alone, without start or end marks.

        Args:
            text: the transcript.
            clip: name of the recording, for the error message.

        Raises:
            DataError: something in the text is not in the vocabulary.
        """

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids; marks are left out."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description from which `tokenizer_from_dict` makes an equal tokenizer."""

    @classmethod
    @abstractmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""

    def is_text(self, token: int) -> bool:
        """Whether the id stands for text and not for a mark."""
        return self.first_text_id <= token < self.first_text_id + self.text_size


def tokenizer_from_dict(state: Mapping[str, Any]) -> Tokenizer:
    """Make the tokenizer that `to_dict` described.

    Raises:
        DataError: the description's kind is unknown.
    """
    kind = state.get("kind")
    if kind not in _KINDS:
        raise DataError(
            f"A tokenizer's kind must be one of {sorted(_KINDS)}; got {kind!r}. "
            "Load the checkpoint with the version that wrote it."
        )
    return _KINDS[kind].from_dict(state)
