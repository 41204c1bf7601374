"""Whisper's vocabularies."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from tokenizers import Regex, decoders, pre_tokenizers
from tokenizers import Tokenizer as Engine
from tokenizers.models import BPE

from echo_reference.errors import DataError, MissingPackageError
from echo_reference.tokens.marks import Task, iso_code, whisper_marks
from echo_reference.tokens.tokenizer import Tokenizer

_MULTILINGUAL, _ENGLISH = "multilingual.tiktoken", "gpt2.tiktoken"
# GPT-2's split of a text into pieces that merges do not cross.
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


class WhisperTokenizer(Tokenizer):
    """Whisper's byte-pair vocabulary with its prompt of language, task and timestamp marks.

    The ranks are read from the file that the `openai-whisper` package ships; the package is not imported, so
    it may be installed without its dependencies. Text is encoded with a leading space, as Whisper expects.

    Args:
        language: one of its languages: ISO code, English name or mark.
        task: "transcribe", or "translate" (to English).
        vocab_size: 51865; 51866 of large-v3 and turbo; or 51864 of the English-only models.

    Raises:
        MissingPackageError: `openai-whisper` is not installed.
        DataError: language, task or size is not one of Whisper's.
    """

    kind = "whisper"

    def __init__(self, language: str = "en", task: Task = "transcribe", vocab_size: int = 51865) -> None:
        marks = whisper_marks(vocab_size)
        if marks is None:
            raise DataError(f"A vocabulary of Whisper's must have 51864 to 51866 ids; got {vocab_size}. Use 51865.")
        self.marks, self.vocab_size = marks, vocab_size
        self.language: str = iso_code(language)
        self.task: Task = task
        self.bos_id = marks.start
        self.eos_id = self.pad_id = marks.end
        self.first_text_id, self.text_size = 0, marks.end
        self.prompt_ids = marks.prompt(language, task)
        self.engine = byte_pair_engine(_MULTILINGUAL if marks.multilingual else _ENGLISH)

    def encode(self, text: str, *, clip: str = "") -> list[int]:  # noqa: ARG002 - byte pairs cover every text
        """Ids of " " + text; any text can be encoded."""
        return list(self.engine.encode(f" {text.strip()}").ids)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids, without marks and outer white space."""
        return str(self.engine.decode([i for i in ids if self.is_text(i)])).strip()

    def to_dict(self) -> dict[str, Any]:
        """Kind, language, task and size; the ranks come from the package again."""
        return {"kind": self.kind, "language": self.language, "task": self.task, "vocab_size": self.vocab_size}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(state["language"], state["task"], state["vocab_size"])


def ranks_path(name: str = _MULTILINGUAL) -> Path:
    """Where the installed `openai-whisper` keeps the ranks of that name.

    Raises:
        MissingPackageError: the package, or the file in it, is not there.
    """
    spec = find_spec("whisper")
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder) / "assets" / name
        if path.is_file():
            return path
    raise MissingPackageError(
        f"Whisper's vocabulary must come from the package openai-whisper; got no file {name}. "
        "Run `pip install --no-deps openai-whisper`."
    )


def _byte_names() -> dict[int, str]:
    """GPT-2's printable character for each byte, by which `tokenizers` spells its byte-level vocabularies."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


def _merge(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    """The last pair that byte-pair encoding joins to make the token."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(left + right, len(ranks)) for left, right in pairwise(parts)]
        best = pairs.index(min(pairs))
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts[0], parts[1]


@cache
def byte_pair_engine(name: str) -> Engine:
    """The byte-pair encoder of the ranks of that name; without marks."""
    lines = (line.split() for line in ranks_path(name).read_bytes().splitlines())
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    names = _byte_names()

    def spell(token: bytes) -> str:
        return "".join(names[byte] for byte in token)

    ordered = sorted(ranks, key=ranks.__getitem__)
    pairs = (_merge(token, ranks) for token in ordered if len(token) > 1)
    engine = Engine(BPE({spell(token): ranks[token] for token in ordered}, [(spell(a), spell(b)) for a, b in pairs]))
    engine.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    engine.decoder = decoders.ByteLevel()
    return engine
