from __future__ import annotations

import importlib.util
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from echo_reference.errors import DataError
from echo_reference.processing import hub_tokenizer
from echo_reference.tokens import CharacterTokenizer, Tokenizer, WhisperTokenizer, WordTokenizer

WORDS = WordTokenizer(["one", "two", "three"])
CHARACTERS = CharacterTokenizer(" aelnotw\n")
needs_whisper = pytest.mark.skipif(
    importlib.util.find_spec("whisper") is None, reason="openai-whisper's files are not installed"
)


def assert_same(tokenizer: Tokenizer, text: str) -> None:
    hub = hub_tokenizer(tokenizer)
    ids = hub(text)["input_ids"]
    assert ids == [*tokenizer.prompt_ids, *tokenizer.encode(text), tokenizer.eos_id]
    assert hub.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids)
    assert len(hub) == tokenizer.vocab_size
    assert (hub.pad_token_id, hub.bos_token_id, hub.eos_token_id) == (
        tokenizer.pad_id,
        tokenizer.bos_id,
        tokenizer.eos_id,
    )


@given(st.lists(st.sampled_from(["one", "two", "three"]), max_size=5).map(" ".join))
def test_words_have_the_same_ids(text: str) -> None:
    assert_same(WORDS, text)


@given(st.text(" aelnotw\n", max_size=12))
def test_characters_have_the_same_ids(text: str) -> None:
    assert_same(CHARACTERS, text)


@needs_whisper
@pytest.mark.parametrize("size", [51864, 51865, 51866])
def test_every_whisper_vocabulary_has_the_same_ids(size: int) -> None:
    assert_same(WhisperTokenizer(vocab_size=size), "Some text, with numbers: 12 and Größe.")


@needs_whisper
def test_marks_have_whispers_names() -> None:
    hub = whispers()
    names = ["<|endoftext|>", "<|startoftranscript|>", "<|de|>", "<|translate|>", "<|notimestamps|>", "<|30.00|>"]
    assert hub.convert_tokens_to_ids(names) == [50257, 50258, 50261, 50358, 50363, 51864]


@needs_whisper
@settings(max_examples=30, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20).filter(str.strip))
def test_whispers_text_is_the_same(text: str) -> None:
    ids = whispers()(text, add_special_tokens=False)["input_ids"]
    assert ids == WhisperTokenizer().encode(text)


@cache
def whispers() -> PreTrainedTokenizerFast:
    return hub_tokenizer(WhisperTokenizer())


def test_a_tokenizer_without_a_counterpart_is_refused() -> None:
    class Other(WordTokenizer):
        pass

    assert_same(Other(["a"]), "a")
    with pytest.raises(DataError, match="got object"):
        hub_tokenizer(object())  # type: ignore[arg-type]
