from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from echo_reference.data.audio import keep_usable, read_audio, to_model_rate, waveform
from echo_reference.data.utterance import Utterance
from echo_reference.errors import DataError
from tests.echo_reference.data.conftest import WriteTone


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16_000, 2), (22_050, 1), (48_000, 2)])
def test_a_tone_keeps_its_pitch_and_level_at_any_rate(write_tone: WriteTone, rate: int, channels: int) -> None:
    samples = read_audio(write_tone("tone.wav", rate=rate, channels=channels))
    assert samples.dtype == np.float32
    assert samples.shape == (8000,)
    middle = samples[1000:7000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(6000)))
    assert np.argmax(spectrum) * 16_000 / 6000 == pytest.approx(440, abs=16_000 / 6000)
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.01)


def test_integers_in_memory_are_full_scale_one() -> None:
    utterance = Utterance("a", np.full(1600, 16384, dtype=np.int16), "one")
    np.testing.assert_array_equal(waveform(utterance), np.full(1600, 0.5, dtype=np.float32))


def write_flawed(path: Path, flaw: str) -> Path:
    samples = {"empty": np.zeros(0), "short": np.ones(399), "silent": np.zeros(8000), "rate": np.ones(8000)}
    if flaw == "unreadable":
        path.write_bytes(b"RIFF, but nothing else")
    elif flaw == "nan":
        soundfile.write(path, np.array([0.0, np.nan] * 800), 16_000, subtype="FLOAT")
    elif flaw == "folder":
        path.mkdir()
    elif flaw in samples:
        soundfile.write(path, samples[flaw], 1000 if flaw == "rate" else 16_000)
    return path


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        ("missing", "must exist; got"),
        ("unreadable", r"must be readable by libsndfile; got \S+\.wav \(\w[\w ]+\)\. Convert"),
        ("empty", "at least 25 ms; got 0 samples"),
        ("short", "at least 25 ms; got 399 samples"),
        ("silent", "must not be silent; got only zeros"),
        ("nan", "must be finite; got NaN"),
        ("folder", r"must be readable; got .* \(Is a directory\)"),
        ("x" * 300, r"must be readable; got .* \(File name too long\)"),
        ("rate", "between 4000 and 384000 Hz; got 1000"),
    ],
)
def test_a_flawed_file_is_refused_by_name(tmp_path: Path, flaw: str, message: str) -> None:
    path = write_flawed(tmp_path / f"{flaw}.wav", flaw)
    with pytest.raises(DataError, match=message) as raised:
        read_audio(path)
    assert path.name in str(raised.value)


def test_one_bad_file_is_left_out_with_a_warning(
    write_tone: WriteTone, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = Utterance("good", write_tone("good.wav"), "one")
    bad = Utterance("bad", write_flawed(tmp_path / "bad.wav", "silent"), "two")
    with caplog.at_level(logging.WARNING):
        kept = keep_usable([good, bad, good], waveform)
    assert len(kept) == 2
    assert "Left out bad: A recording must not be silent" in caplog.text
    assert "1 of 3 utterances were left out" in caplog.text
    with pytest.raises(DataError, match="silent"):
        keep_usable([good, bad], waveform, strict=True)


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"got 1 bad ones and no good one.*The first: An audio file must exist"):
        keep_usable([Utterance("gone", tmp_path / "gone.wav", "one")], waveform)
    with pytest.raises(DataError, match="got 0 bad ones and no good one"):
        keep_usable([], waveform)


def test_samples_at_the_model_rate_are_untouched() -> None:
    samples = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    np.testing.assert_array_equal(to_model_rate(samples, 16_000, name="x"), samples)
