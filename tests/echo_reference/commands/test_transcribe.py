from __future__ import annotations

import errno
import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from torch import Tensor

from echo_reference.commands import run
from echo_reference.data.audio import read_audio
from echo_reference.longform import render, transcribe_long, tuned
from echo_reference.model import Echo
from echo_reference.tokens import WhisperTokenizer
from echo_reference.training.evaluation import Reader
from echo_reference.training.start import trained_reader
from tests.echo_reference.runs import PITCHES, tone
from tests.echo_reference.test_warm_start import Size, whisper
from tests.echo_reference.training.test_start import SPECIAL


def test_transcribe_reads_every_format_and_rate(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, said = [], []
    for suffix in ("wav", "flac", "ogg"):
        for rate in (8000, 16000, 44100):
            for word in PITCHES:
                path = tmp_path / f"{word}-{rate}.{suffix}"
                # Made at the rate of the training set, so that all rates carry the same sound.
                soundfile.write(path, soxr.resample(tone(word, 0.22), 8000, rate), rate)
                files.append(str(path))
                said.append(word)
    assert run(["transcribe", str(trained), *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{file}: {word}" for file, word in zip(files, said, strict=True)]
    assert run(["transcribe", str(trained), files[0], "--decoding", "ctc"]) == 0
    assert capsys.readouterr().out == f"{said[0]}\n"


def test_transcribe_writes_long_recordings_with_times(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silence, word = np.zeros(20 * 8000), tone("high", 0.22)
    soundfile.write(tmp_path / "long.wav", np.concatenate([word, silence, word, silence, word]), 8000)
    soundfile.write(tmp_path / "short.wav", tone("low", 0.22), 8000)
    files = [str(tmp_path / name) for name in ("long.wav", "short.wav")]
    assert run(["transcribe", str(trained), *files, "--format", "json", "--output", str(tmp_path / "out")]) == 0
    long, short = (json.loads((tmp_path / "out" / f"{name}.json").read_text("utf-8")) for name in ("long", "short"))
    assert short["text"] == "low"
    assert 0 <= short["segments"][0]["start"] < short["segments"][0]["end"] <= 0.4
    times = [time for segment in long["segments"] for time in (segment["start"], segment["end"])]
    assert times
    assert times == sorted(times)
    assert times[-1] <= 41.0
    assert run(["transcribe", str(trained), files[1], "--format", "srt"]) == 0
    assert re.fullmatch(r"1\n00:00:00,\d{3} --> 00:00:00,\d{3}\nlow\n", capsys.readouterr().out)
    assert run(["transcribe", str(trained), files[0], files[0], "--output", str(tmp_path)]) == 2
    assert "must differ in name; got long twice" in capsys.readouterr().err


def test_a_files_text_depends_neither_on_its_companions_nor_on_the_format(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silence = np.zeros(2 * 8000)
    sounds = {
        "short": tone("low", 0.22),
        "several": np.concatenate([tone("high", 0.22), silence, tone("low", 0.22), silence, tone("peep", 0.22)]),
        "long": np.concatenate([tone("peep", 0.22), *[silence] * 16, tone("high", 0.22)]),
    }
    files = {name: str(tmp_path / f"{name}.wav") for name in sounds}
    for name, sound in sounds.items():
        soundfile.write(files[name], sound, 8000)
    for window in ([], ["--window", "3", "--overlap", "0.5"]):
        together = {}
        for form, ending in (("text", "txt"), ("json", "json")):
            folder = tmp_path / form
            asked = ["transcribe", str(trained), *files.values(), "--format", form, "--output", str(folder), *window]
            assert run(asked) == 0
            together[form] = {name: (folder / f"{name}.{ending}").read_text("utf-8") for name in files}
        assert together["text"] == {name: json.loads(one)["text"] + "\n" for name, one in together["json"].items()}
        for name, file in files.items():
            assert run(["transcribe", str(trained), file, *window]) == 0
            assert capsys.readouterr().out == together["text"][name]


@pytest.fixture
def mixed(tmp_path: Path) -> list[str]:
    """Two good files, and between them one missing, one that is none, one too short, one of zeros, and two closed."""
    for name in ("first", "last"):
        soundfile.write(tmp_path / f"{name}.wav", tone("low", 0.22), 8000)
    (tmp_path / "text.wav").write_text("no recording")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "locked.wav").write_bytes((tmp_path / "last.wav").read_bytes())
    soundfile.write(tmp_path / "click.wav", np.ones(9), 8000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(4000), 8000)
    names = ("first", "none", "text", "click", "silent", "folder", "locked", "last")
    return [str(tmp_path / f"{name}.wav") for name in names]


@pytest.fixture
def permissions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody read a file called locked: where tests run as root, its mode would not keep them out."""
    read_bytes = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.name == "locked.wav":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", read)


@pytest.mark.usefixtures("permissions")
def test_a_bad_file_keeps_no_other_from_being_read(
    trained: Path, mixed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["transcribe", str(trained), *mixed]) == 2
    said = capsys.readouterr()
    assert said.out.splitlines() == [f"{mixed[0]}: low", f"{mixed[4]}: ", f"{mixed[7]}: low"]
    missing, unreadable, short, folder, locked = said.err.splitlines()
    assert missing == f"An audio file must exist; got {mixed[1]}. Correct the path."
    assert f"must be readable by libsndfile; got {mixed[2]}" in unreadable
    assert short == f"A recording must last at least 25 ms; got 9 samples at 8000 Hz in {mixed[3]}. Leave it out."
    remedy = "Correct the path or its permissions."
    assert folder == f"An audio file must be readable; got {mixed[5]} (Is a directory). {remedy}"
    assert locked == f"An audio file must be readable; got {mixed[6]} (Permission denied). {remedy}"


@pytest.mark.parametrize(
    ("form", "empty"),
    [("txt", "\n"), ("json", '{\n "text": "",\n "segments": []\n}\n'), ("srt", ""), ("vtt", "WEBVTT\n")],
)
def test_a_silent_file_has_an_empty_text(
    trained: Path, mixed: list[str], tmp_path: Path, form: str, empty: str
) -> None:
    form_flag = "text" if form == "txt" else form
    out = tmp_path / "out"
    assert run(["transcribe", str(trained), mixed[4], "--format", form_flag, "--output", str(out)]) == 0
    assert (out / f"silent.{form}").read_text("utf-8") == empty


@pytest.mark.parametrize("long", [True, False])
def test_files_are_written_before_the_next_lot_is_read(
    trained: Path, mixed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: bool
) -> None:
    out, there = tmp_path / "out", []

    def read(path: Path) -> object:
        there.append(sorted(file.name for file in out.glob("*")))
        return read_audio(path)

    monkeypatch.setattr("echo_reference.commands.transcribe.read_audio", read)
    monkeypatch.setattr("echo_reference.commands.lots._MOST", 2)
    files, window = [mixed[0], mixed[7], mixed[4]], ["--window", "0.1"] if long else []
    assert run(["transcribe", str(trained), *files, "--output", str(out), *window]) == 0
    assert there == [[], ["first.txt"] if long else [], ["first.txt", "last.txt"]]


@pytest.mark.usefixtures("permissions")
@pytest.mark.parametrize("decoding", ["ctc", "greedy", "joint"])
def test_many_short_files_are_read_together_and_each_as_if_alone(
    trained: Path, mixed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoding: str
) -> None:
    random = np.random.default_rng(0)
    files = [str(tmp_path / f"{i}.wav") for i in range(12)]
    for file in files:
        parts = [
            tone(str(random.choice(list(PITCHES))), random.uniform(0.1, 0.6)) for _ in range(random.integers(1, 4))
        ]
        soundfile.write(file, np.concatenate(parts) + 0.01 * random.standard_normal(sum(map(len, parts))), 8000)
    files[4:4] = mixed
    batches: list[int] = []
    encode = Echo.encode

    def counted(self: Echo, features: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        batches.append(len(features))
        return encode(self, features, lengths)

    monkeypatch.setattr(Echo, "encode", counted)

    def texts(form: str, most: int) -> dict[str, str]:
        monkeypatch.setattr("echo_reference.commands.lots._MOST", most)
        out = tmp_path / f"{form}-{most}"
        asked = ["transcribe", str(trained), *files, "--format", form, "--output", str(out), "--decoding", decoding]
        assert run(asked) == 2  # for the bad ones among them
        return {file.stem: file.read_text("utf-8") for file in out.iterdir()}

    together = {form: texts(form, 32) for form in ("text", "json", "srt")}
    assert set(batches) == {14}
    assert together == {form: texts(form, 1) for form in together}
    assert len(together["text"]) == 15
    assert len(set(together["text"].values())) > 3
    assert together["text"] == {name: json.loads(one)["text"] + "\n" for name, one in together["json"].items()}


needs_whisper = pytest.mark.skipif(
    importlib.util.find_spec("whisper") is None, reason="openai-whisper's files are not installed"
)


@pytest.fixture(scope="session")
def bare_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained Whisper, which writes anything; not to be written to."""
    folder = tmp_path_factory.mktemp("whisper")
    whisper(Size(32, 2, 1, 1, mels=16, vocabulary=51865, positions=50), **SPECIAL).save_pretrained(folder)
    return folder


def write(path: Path, seconds: float) -> Path:
    soundfile.write(path, tone("high", seconds), 8000)
    return path


def written(model: Path, out: Path, files: list[Path], *flags: str) -> list[str]:
    """What the command writes to one file for each; as bytes, since an untrained model writes any characters."""
    assert run(["transcribe", str(model), *map(str, files), "--output", str(out), *flags]) == 0
    ending = "json" if "json" in flags else "txt"
    return [(out / f"{file.stem}.{ending}").read_bytes().decode() for file in files]


def any_window(_model: Echo, tokenizer: WhisperTokenizer, features: Tensor, *_: object) -> list[int]:
    """As an untrained Whisper writes anything: what it was asked for, what it hears, and something drawn."""
    drawn = int(torch.randint(10**6, ()))
    said = tokenizer.encode(f"{tokenizer.language} {tokenizer.task} {features.shape[2]} {drawn}")
    return [50258, 50364, *said, 50384, 50257]


def read_with_times(reader: Reader, samples: Tensor) -> str:
    return render(transcribe_long(reader, samples, "greedy"), "text")


@needs_whisper
def test_transcribe_reads_with_a_bare_whisper(
    bare_whisper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert written(bare_whisper, tmp_path, [write(tmp_path / "clip.wav", 0.5)])[0].endswith("\n")
    monkeypatch.setattr("echo_reference.longform.transcribe.read_window", any_window)
    clip = write(tmp_path / "clip.wav", 0.5)
    reader, decoding = trained_reader(bare_whisper)
    assert decoding == "greedy"
    samples = torch.from_numpy(read_audio(clip))
    in_its_language, german = tuned(reader, samples), tuned(reader, samples, "de", "translate")
    assert german.tokenizer.prompt_ids == (50258, 50261, 50358, 50363) != in_its_language.tokenizer.prompt_ids
    # Read with timestamps, doubts and fallbacks however short, and whatever is asked for.
    (text,) = written(bare_whisper, tmp_path, [clip])
    assert text == read_with_times(in_its_language, samples)
    assert re.fullmatch(r"\w\w transcribe 100 \d+\n", text)
    for name in ("de", "German", "<|de|>"):
        (translated,) = written(bare_whisper, tmp_path, [clip], "--language", name, "--task", "translate")
        assert translated == read_with_times(german, samples)
    assert translated.startswith("de translate 100 ")
    # The same weights, saved as an Echo.
    reader.model.save_pretrained(tmp_path / "echo")
    assert written(tmp_path / "echo", tmp_path, [clip]) == [text]
    assert run(["transcribe", str(tmp_path), str(clip)]) == 2
    assert "must hold a checkpoint" in capsys.readouterr().err


@needs_whisper
def test_what_a_whisper_writes_of_a_file_depends_on_nothing_else(
    bare_whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echo_reference.longform.transcribe.read_window", any_window)
    files = [write(tmp_path / "short.wav", 0.5), write(tmp_path / "long.wav", 1.5)]
    alone = [written(bare_whisper, tmp_path, [file])[0] for file in files]
    assert alone == written(bare_whisper, tmp_path, files[::-1])[::-1]
    timed = written(bare_whisper, tmp_path, files, "--format", "json")
    assert alone == [json.loads(one)["text"] + "\n" for one in timed]
