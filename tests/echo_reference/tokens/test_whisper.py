from __future__ import annotations

import base64
import importlib.util
from itertools import pairwise
from pathlib import Path

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

from echo_reference.errors import DataError, MissingPackageError
from echo_reference.tokens import CtcSymbols, WhisperTokenizer, tokenizer_from_dict, whisper

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("whisper") is None, reason="openai-whisper's files are not installed"
)


@pytest.fixture(scope="module")
def ranks() -> dict[bytes, int]:
    lines = whisper.ranks_path().read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}


def slow_encode(text: str, ranks: dict[bytes, int]) -> list[int]:
    """Byte-pair encoding by its definition: join the pair of lowest rank until no pair has one."""
    pieces = regex.findall(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", text)
    ids = []
    for piece in pieces:
        parts = [bytes([byte]) for byte in piece.encode()]
        while True:
            pairs = [(ranks[a + b], i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]
            if not pairs:
                break
            place = min(pairs)[1]
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        ids += [ranks[part] for part in parts]
    return ids


def test_known_ids() -> None:
    tokenizer = WhisperTokenizer()
    assert (tokenizer.vocab_size, tokenizer.eos_id, tokenizer.pad_id) == (51865, 50257, 50257)
    assert tokenizer.prompt_ids == (50258, 50259, 50359, 50363)
    assert WhisperTokenizer("su", "translate").prompt_ids == (50258, 50357, 50358, 50363)
    digits = "zero one two three four five six seven eight nine"
    assert len(tokenizer.encode(digits)) == 10


def test_a_language_may_be_given_by_any_name_that_transformers_knows() -> None:
    for name, code in TO_LANGUAGE_CODE.items():
        for asked in (name, name.title(), code, f"<|{code}|>"):
            tokenizer = WhisperTokenizer(asked, vocab_size=51866)
            assert tokenizer.language == code
            assert tokenizer.prompt_ids == WhisperTokenizer(code, vocab_size=51866).prompt_ids
    assert WhisperTokenizer("english", vocab_size=51864).prompt_ids == (50257, 50362)


@settings(max_examples=60)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_equals_the_definition_of_byte_pair_encoding(ranks: dict[bytes, int], text: str) -> None:
    tokenizer = WhisperTokenizer()
    ids = tokenizer.encode(text)
    assert ids == slow_encode(f" {text.strip()}", ranks)
    assert tokenizer.decode([*tokenizer.prompt_ids, *ids, tokenizer.eos_id]) == text.strip()


def test_round_trips_through_a_dictionary() -> None:
    again = tokenizer_from_dict(WhisperTokenizer("de", "translate").to_dict())
    assert again.prompt_ids == WhisperTokenizer("de", "translate").prompt_ids


def test_refuses_an_unknown_language_and_a_huge_ctc_head() -> None:
    with pytest.raises(DataError, match="got 'klingon'"):
        WhisperTokenizer("klingon")
    with pytest.raises(DataError, match="at most 4096 symbols; got 50257"):
        CtcSymbols(WhisperTokenizer())


def test_names_the_missing_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("whisper", tmp_path, submodule_search_locations=[str(tmp_path)])
    for found in (None, spec):
        monkeypatch.setattr(whisper, "find_spec", lambda _, found=found: found)
        with pytest.raises(MissingPackageError, match="pip install --no-deps openai-whisper"):
            whisper.ranks_path()
