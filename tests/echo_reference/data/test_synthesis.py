from __future__ import annotations

import importlib.metadata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echo_reference.data import engines, studio, synthesis
from echo_reference.data.engines import installed_engines, open_engine
from echo_reference.data.material import DIGITS, draw_text
from echo_reference.data.render import Job, make
from echo_reference.data.synthesis import Synthesis, default_cache, plan, synthesise
from echo_reference.data.voices import Voice, draw_voice
from echo_reference.errors import DataError, MissingPackageError

SMALL = Synthesis(train=8, validation=2, test=3, seed=1)
ENGINES = sorted(installed_engines())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the small corpus."""
    cache = tmp_path_factory.mktemp("cache")
    synthesise(SMALL, cache)
    return cache


def test_a_second_machine_makes_the_same_samples(made: Path, tmp_path: Path) -> None:
    first, second = synthesise(SMALL, made), synthesise(SMALL, tmp_path)
    assert [len(split) for split in second[1:]] == [8, 2, 3]
    for ours, theirs in zip(first[1:], second[1:], strict=True):
        for left, right in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(left.audio, right.audio)
            assert left._replace(audio=Path()) == right._replace(audio=Path())


def test_clips_are_speech_of_a_sane_length(made: Path) -> None:
    for split in synthesise(SMALL, made)[1:]:
        for utterance in split:
            samples = utterance.audio
            assert isinstance(samples, np.ndarray)
            assert samples.dtype == np.int16
            words = len(utterance.text.split())
            assert 0.1 * words < utterance.duration < 0.8 + 1.2 * words
            assert 0.15 * 32767 < np.abs(samples.astype(int)).max() < 32767


def test_a_cached_corpus_is_not_made_again(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "record", lambda *_: pytest.fail("made again"))
    synthesise(SMALL, made)
    with pytest.raises(pytest.fail.Exception):
        synthesise(SMALL.model_copy(update={"seed": 2}), made)
    monkeypatch.setattr(synthesis, "installed_engines", lambda: {"pico": "0.0"})
    with pytest.raises(pytest.fail.Exception):
        synthesise(SMALL, made)


def test_an_interrupted_run_leaves_no_half_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(synthesis, "record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        synthesise(SMALL, tmp_path)
    assert list((tmp_path / "speech").iterdir()) == []


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([["pico"], ["espeak"], ["espeak", "pico"]]))
def test_held_out_voices_never_train(seed: int, engines: list[engines.Engine]) -> None:
    jobs = plan(Synthesis(train=150, validation=50, test=50, seed=seed), engines)
    variants = {
        split: {(job.voice.engine, job.voice.variant) for kind, job in jobs if kind == split}
        for split in ("train", "validation", "test")
    }
    assert not variants["train"] & variants["test"]
    assert not variants["train"] & variants["validation"]
    assert not variants["validation"] & variants["test"]
    assert {engine for names in variants.values() for engine, _ in names} == set(engines)
    assert jobs == plan(Synthesis(train=150, validation=50, test=50, seed=seed), engines)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_voice_speaks(engine: engines.Engine) -> None:
    random, synthesiser = np.random.default_rng(0), open_engine(engine)
    for split in ("train", "validation", "test"):
        for _ in range(25):
            speech = synthesiser.speak("seven", draw_voice(engine, split, random), 1.0)
            assert 0.15 < speech.size / 16_000 < 1.5


@pytest.mark.parametrize("engine", ENGINES)
def test_a_shorter_vocal_tract_keeps_the_speed_and_raises_the_spectrum(engine: engines.Engine) -> None:
    accent, variant = ("en-US", "") if engine == "pico" else ("en-us", "m3")
    synthesiser = open_engine(engine)
    long, short = (
        synthesiser.speak("nine nine nine", Voice(engine, accent, variant, tract, 1.0), 1.0) for tract in (0.85, 1.15)
    )
    assert short.size == pytest.approx(long.size, rel=0.1)

    def centroid(samples: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(samples)) ** 2
        return float((power * np.fft.rfftfreq(samples.size)).sum() / power.sum())

    assert centroid(short) > 1.1 * centroid(long)


def test_a_clip_has_the_margins_and_level_of_its_job() -> None:
    class Tone:
        def speak(self, text: str, voice: Voice, speed: float) -> np.ndarray:  # noqa: ARG002
            return np.pad(np.full(1600, 0.3, np.float32), 8000)

    job = Job("one", "one", Voice("pico", "", "", 1.0, 1.0), 1.0, 0.1, 0.2, 0.5, 60.0, 0)
    clip = make(Job.from_json(job.to_json()), Tone())
    loud = np.flatnonzero(np.abs(clip.astype(int)) > 8000)
    assert (clip.size, loud[0], loud[-1]) == (1600 + 1600 + 3200, 1600, 3199)
    assert np.abs(clip.astype(int)).max() == pytest.approx(0.5 * 32767, rel=0.01)


@given(st.integers(0, 10_000), st.sampled_from(["digits", "numbers", "commands", "mixed"]))
def test_texts_stay_in_the_closed_vocabulary(seed: int, material: synthesis.Material) -> None:
    words = draw_text(material, 5, np.random.default_rng(seed)).split()
    assert 1 <= len(words) <= 7
    assert all(word.isalpha() and word.islower() for word in words)
    if material == "digits":
        assert set(words) <= set(DIGITS)
        assert len(words) <= 5


def test_the_vocabulary_is_small() -> None:
    random = np.random.default_rng(0)
    words = {word for _ in range(4000) for word in draw_text("mixed", 5, random).split()}
    assert set(DIGITS) < words
    assert 50 <= len(words) <= 80


def test_a_failing_engine_is_named(tmp_path: Path) -> None:
    voice = Voice("espeak" if "espeak" in ENGINES else "pico", "nowhere", "f1", 1.0, 1.0)
    job = Job("one", "one", voice, 1.0, 0.1, 0.1, 0.5, 60.0, 0)
    with pytest.raises(DataError, match=f"The engine {voice.engine} must make every clip; got exit status 1"):
        studio.record([job], tmp_path)


def test_missing_engines_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(engines, "version", absent)
    with pytest.raises(MissingPackageError, match="got neither py-nanotts nor espeakng-loader"):
        synthesise(SMALL, tmp_path)
    with pytest.raises(MissingPackageError, match="pip install espeakng-loader"):
        open_engine("espeak")


def test_default_cache_follows_the_standard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "homeostat"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "homeostat"
