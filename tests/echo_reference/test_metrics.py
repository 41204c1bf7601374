from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echo_reference.errors import DataError, MissingPackageError
from echo_reference.metrics import normalise, score

WORDS = st.lists(st.sampled_from(["one", "two", "three", "oh"]), min_size=1, max_size=6).map(" ".join)


def edits(reference: list[str], hypothesis: list[str]) -> int:
    """Levenshtein distance, the slow twin."""
    row = list(range(len(hypothesis) + 1))
    for i, left in enumerate(reference, start=1):
        above, row[0] = row[:], i
        for j, right in enumerate(hypothesis, start=1):
            row[j] = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (left != right))
    return row[-1]


@given(st.lists(st.tuples(WORDS, WORDS | st.just("")), min_size=1, max_size=5))
def test_equals_edit_distance_over_words(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = [list(side) for side in zip(*pairs, strict=True)]
    result = score(references, hypotheses)
    errors = sum(edits(r.split(), h.split()) for r, h in pairs)
    assert result.words == sum(len(r.split()) for r in references)
    assert result.wer == pytest.approx(errors / result.words)
    assert result.substitutions + result.deletions + result.insertions == errors


def test_digit_strings_keep_their_words_and_sentences_are_normalised() -> None:
    assert score(["one two three"], ["one two four"]).wer == pytest.approx(1 / 3)
    assert score(["one two three"], ["one two four"], "sentences").words == 1
    assert score(["It's Mr. Smith's colour."], ["it is mister smith's color"], "sentences").wer == 0.0


def test_case_and_punctuation_do_not_count() -> None:
    assert normalise("  Twenty-One, PLEASE!  it's") == "twenty one please it's"
    assert score(["One, two!"], ["one TWO"]).cer == 0.0


def test_words_for_an_empty_reference_are_insertions() -> None:
    assert score(["", "one two"], ["three", "one two"]).insertions == 1


def test_refuses_lists_that_cannot_be_scored() -> None:
    with pytest.raises(DataError, match="equally many; got 1 and 2"):
        score(["one"], ["one", "two"])
    with pytest.raises(DataError, match="at least one word; got none in 2 texts"):
        score(["", "..."], ["one", ""])


def test_names_the_missing_normaliser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "whisper_normalizer.english", None)
    with pytest.raises(MissingPackageError, match="pip install whisper-normalizer"):
        normalise("one", "sentences")
