from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echo_reference.errors import DataError
from echo_reference.tokens import CharacterTokenizer, CtcSymbols, Tokenizer, WordTokenizer, tokenizer_from_dict

TEXTS = ["zero one", "two", "it's nine"]


@pytest.mark.parametrize("make", [CharacterTokenizer.from_texts, WordTokenizer.from_texts])
def test_decode_inverts_encode_and_survives_json(make: Callable[[list[str]], Tokenizer]) -> None:
    tokenizer = make(TEXTS)
    again = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert type(again) is type(tokenizer)
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert ids == again.encode(text)
        assert all(tokenizer.is_text(i) and i < tokenizer.vocab_size for i in ids)
        marked = [tokenizer.bos_id, *ids, tokenizer.eos_id, tokenizer.pad_id]
        assert tokenizer.decode(marked) == text
        symbols = CtcSymbols(tokenizer)
        assert symbols.decode(symbols.encode(text)) == text


def test_vocabulary_does_not_depend_on_the_order_of_texts() -> None:
    assert WordTokenizer.from_texts(TEXTS).symbols == WordTokenizer.from_texts(reversed(TEXTS)).symbols


def test_marks_are_distinct_and_outside_the_text() -> None:
    tokenizer = CharacterTokenizer("ab ")
    marks = {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id}
    assert len(marks) == 3
    assert not any(tokenizer.is_text(mark) for mark in marks)
    assert tokenizer.vocab_size == 6
    assert tokenizer.prompt_ids == (tokenizer.bos_id,)


@pytest.mark.parametrize(
    ("tokenizer", "text", "named"),
    [(CharacterTokenizer("abc "), "a é", "'é' in 'a é' of clip 'x.wav'"), (WordTokenizer(["on"]), "on off", "'off'")],
)
def test_names_what_is_out_of_vocabulary_and_where(tokenizer: Tokenizer, text: str, named: str) -> None:
    with pytest.raises(DataError, match=named):
        tokenizer.encode(text, clip="x.wav")


@pytest.mark.parametrize("symbols", [[], ["a", "b", "a"]])
def test_refuses_empty_or_double_vocabularies(symbols: list[str]) -> None:
    with pytest.raises(DataError, match="none twice; got"):
        CharacterTokenizer(symbols)


def test_refuses_an_unknown_kind() -> None:
    with pytest.raises(DataError, match="must be one of \\['character', 'whisper', 'word'\\]; got 'morse'"):
        tokenizer_from_dict({"kind": "morse"})


@given(st.lists(st.sampled_from("abc"), max_size=8), st.data())
def test_symbols_give_the_text_whatever_blanks_lie_between(letters: list[str], data: st.DataObject) -> None:
    symbols = CtcSymbols(CharacterTokenizer("abc"))
    path: list[int] = []
    for symbol in symbols.encode("".join(letters)):
        path += [symbols.blank] * data.draw(st.integers(0, 2)) + [symbol]
    assert symbols.decode(path) == "".join(letters)
    assert symbols.size == 4
    assert min(symbols.encode("abc")) == 1
