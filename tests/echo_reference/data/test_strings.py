from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echo_reference.data.manifest import read_manifest
from echo_reference.data.strings import DigitStrings
from echo_reference.data.utterance import Utterance
from echo_reference.errors import DataError

# Speaker and digit can be read off the samples: constant levels.
LEVELS = {("ann", "one"): 0.1, ("ann", "two"): 0.2, ("bob", "one"): 0.3, ("bob", "two"): 0.4}
RECORDINGS = [
    Utterance(f"{speaker}-{word}", np.full(8000, level, np.float32), word, 0.5, speaker)
    for (speaker, word), level in LEVELS.items()
]
STRINGS = DigitStrings(RECORDINGS, seed=3)


def heard(samples: np.ndarray) -> list[float]:
    """Levels of the recordings in a string, in order."""
    pieces = samples[samples > 0].reshape(-1, 8000)
    assert (pieces == pieces[:, :1]).all()
    return [round(float(piece[0]), 3) for piece in pieces]


@given(st.integers(0, 10_000))
def test_a_string_is_recordings_of_one_speaker_in_the_order_of_its_text(number: int) -> None:
    string = STRINGS(number)
    assert isinstance(string.audio, np.ndarray)
    assert string.audio.shape == (48_000,)
    words = string.text.split()
    assert 1 <= len(words) <= 5
    assert heard(string.audio) == [LEVELS[string.speaker, word] for word in words]
    again = DigitStrings(RECORDINGS, seed=3)(number)
    np.testing.assert_array_equal(string.audio, again.audio)
    assert string.text == again.text


def test_all_lengths_speakers_and_seeds_differ() -> None:
    strings = STRINGS.take(200)
    assert {len(string.text.split()) for string in strings} == {1, 2, 3, 4, 5}
    assert {string.speaker for string in strings} == {"ann", "bob"}
    assert len({string.id for string in strings}) == 200
    other = DigitStrings(RECORDINGS, seed=4).take(200)
    assert [string.text for string in other] != [string.text for string in strings]
    assert [string.text for string in STRINGS.take(5, start=7)] == [string.text for string in strings[7:12]]


def test_a_draw_too_long_for_the_clip_loses_its_last_words() -> None:
    strings = DigitStrings(RECORDINGS, seed=0, seconds=1.2).take(50)
    assert {len(string.text.split()) for string in strings} == {1, 2}


@pytest.mark.parametrize("recordings", [[], [Utterance("long", np.ones(50_000, np.float32), "one")]])
def test_refuses_to_join_nothing(recordings: list[Utterance]) -> None:
    with pytest.raises(DataError, match=f"got none among {len(recordings)}"):
        DigitStrings(recordings, seed=0)


def test_real_recordings(shared_data: Path) -> None:
    takes = read_manifest(shared_data / "fsdd" / "test.jsonl")
    strings = DigitStrings(takes, seed=0).take(100)
    assert all(string.audio.shape == (48_000,) for string in strings)
    assert len({string.speaker for string in strings}) == 6
    assert np.mean([len(string.text.split()) for string in strings]) == pytest.approx(3, abs=0.4)
