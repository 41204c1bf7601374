"""Whisper's multilingual vocabulary of 51865 ids."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

from tokenizers import Regex, decoders, pre_tokenizers
from tokenizers import Tokenizer as Engine
from tokenizers.models import BPE

from echo_reference.errors import DataError, MissingPackageError
from echo_reference.tokens.tokenizer import Tokenizer

_END_OF_TEXT = 50257
_START = 50258
_TRANSLATE, _TRANSCRIBE = 50358, 50359
_NO_TIMESTAMPS = 50363
_VOCABULARY = 51865
# ISO codes in the order of their ids, from 50259 on.
_LANGUAGES = """
    en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi
    fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la
    mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy
    ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be
    tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl
    mg as tt haw ln ha ba jw su
""".split()  # noqa: SIM905 - a list of 99 quoted strings would fill a screen
# GPT-2's split of a text into pieces that merges do not cross.
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


class WhisperTokenizer(Tokenizer):
    """Whisper's byte-pair vocabulary with its prompt of language, task and timestamp marks.

    The ranks are read from the file that the `openai-whisper` package ships; the package is not imported, so
    it may be installed without its dependencies. Text is encoded with a leading space, as Whisper expects.

    Args:
        language: ISO code of one of the 99 languages.
        task: "transcribe", or "translate" (to English).

    Raises:
        MissingPackageError: `openai-whisper` is not installed.
        DataError: the language is not one of Whisper's.
    """

    kind = "whisper"

    def __init__(self, language: str = "en", task: Literal["transcribe", "translate"] = "transcribe") -> None:
        if language not in _LANGUAGES:
            raise DataError(f"A language must be one of Whisper's ISO codes; got {language!r}. Use for example 'en'.")
        self.language: str = language
        self.task: Literal["transcribe", "translate"] = task
        self.vocab_size = _VOCABULARY
        self.bos_id = _START
        self.eos_id = self.pad_id = _END_OF_TEXT
        self.first_text_id, self.text_size = 0, _END_OF_TEXT
        action = _TRANSCRIBE if task == "transcribe" else _TRANSLATE
        self.prompt_ids = (_START, _START + 1 + _LANGUAGES.index(language), action, _NO_TIMESTAMPS)
        self._engine = _engine()

    def encode(self, text: str, *, clip: str = "") -> list[int]:  # noqa: ARG002 - byte pairs cover every text
        """Ids of " " + text; any text can be encoded."""
        return list(self._engine.encode(f" {text.strip()}").ids)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids, without marks and outer white space."""
        return str(self._engine.decode([i for i in ids if self.is_text(i)])).strip()

    def to_dict(self) -> dict[str, Any]:
        """Kind, language and task; the ranks come from the package again."""
        return {"kind": self.kind, "language": self.language, "task": self.task}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(state["language"], state["task"])


def ranks_path() -> Path:
    """Where the installed `openai-whisper` keeps its multilingual ranks.

    Raises:
        MissingPackageError: the package, or the file in it, is not there.
    """
    spec = find_spec("whisper")
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder) / "assets" / "multilingual.tiktoken"
        if path.is_file():
            return path
    raise MissingPackageError(
        "Whisper's vocabulary must come from the package openai-whisper; got no file multilingual.tiktoken. "
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
def _engine() -> Engine:
    lines = (line.split() for line in ranks_path().read_bytes().splitlines())
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
