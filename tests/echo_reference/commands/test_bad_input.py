"""What cannot be done is said in one sentence, and the exit code is 2."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from transformers import BartConfig

from echo_reference.commands import run
from echo_reference.errors import ConfigError
from echo_reference.model import Echo
from echo_reference.training import checkpoint
from tests.echo_reference.runs import tiny_settings, write_corpus

Refused = Callable[[list[str]], str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must be refused; returns its one line on standard error."""

    def check(arguments: list[str]) -> str:
        assert run(arguments) == 2
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert said.count("\n") == 1
        return said

    return check


def test_without_a_known_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fly"]) == 2
    assert "A command must be one of train, evaluate, transcribe, data; got 'fly'." in capsys.readouterr().err
    assert run([]) == 2
    assert run(["--help"]) == 0
    assert "Write down what is said" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--stepz", "3"],
            "Arguments must be those of `echo-reference train --help`; got unrecognized arguments: --stepz 3",
        ),
        (["--steps", "0"], "--steps is not valid (Input should be greater than or equal to 1); got '0'"),
        (["--learning-rate", "nan"], "--learning-rate is not valid (Input should be a finite number)"),
        (["--device", "abacus"], "--device is not valid (Value error, must be a device that torch can use here"),
        (["--tokens", "syllable"], "--tokens"),
        (["--data", "nowhere"], "A corpus must be a folder with train.jsonl"),
        (["--recipe", "homeopathy"], "A recipe must be one of "),
        (["--resume"], "A run to be continued must be named; got --resume alone"),
        (["--config"], "--config must be followed by a YAML file"),
        (["--config", "missing.yaml"], "--config must be a readable YAML file; got missing.yaml"),
    ],
)
def test_a_flag(refused: Refused, corpus: Path, tmp_path: Path, flags: list[str], message: str) -> None:
    given = [] if "--resume" in flags else ["--output", str(tmp_path / "run")]
    assert message in refused(["train", "--data", str(corpus), *given, *flags])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz: 3", "A setting must be one of `echo-reference train --help`; got --stepz"),
        ("steps: many", "--steps is not valid (Input should be a valid integer"),
        ("- steps", "--config must hold settings by name; got list"),
        ("steps: [1", "--config must be a readable YAML file"),
    ],
)
def test_a_configuration_file(refused: Refused, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    assert message in refused(["train", "--config", str(path)])


def test_settings_are_not_taken_from_the_environment(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("data", "DATA"):
        monkeypatch.setenv(name, "from the environment")
    assert "from the flag" in refused(["data", "from the flag"])


def test_a_manifest_without_a_line(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "all.jsonl").write_text("\n")
    assert "A manifest must list at least one utterance; got none" in refused(["data", str(tmp_path / "all.jsonl")])


def write_settings(path: Path, corpus: Path, run_folder: Path) -> str:
    settings = tiny_settings(corpus, run_folder, steps=1, recipe="none")
    path.write_text(yaml.safe_dump(settings.model_dump(mode="json", exclude_unset=True)), encoding="utf-8")
    return str(path)


def spoil(folder: Path, split: str, numbers: range) -> None:
    """Make recordings unreadable, silent, or of an impossible sampling rate, in turn."""
    for i in numbers:
        path = folder / f"{split}-{i}.wav"
        if i % 3 == 0:
            path.write_bytes(b"no recording")
        elif i % 3 == 1:
            soundfile.write(path, np.zeros(4000), 8000)
        else:
            soundfile.write(path, np.ones(4000), 2000)


def test_bad_recordings_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    spoil(corpus, "train", range(3))
    config = write_settings(tmp_path / "settings.yaml", corpus, tmp_path / "run")
    assert run(["train", "--config", config]) == 0
    assert "3 of 23 utterances were left out." in caplog.text
    for reason in ("must be readable by libsndfile", "must not be silent", "must lie between 4000 and 384000 Hz"):
        assert reason in caplog.text


def test_a_set_without_a_good_recording(refused: Refused, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    spoil(corpus, "train", range(24))
    config = write_settings(tmp_path / "settings.yaml", corpus, tmp_path / "run")
    assert "must have at least one usable utterance; got 23 bad ones" in refused(["train", "--config", config])


def test_a_run_that_is_not_there(refused: Refused, tmp_path: Path) -> None:
    for arguments in (["evaluate", str(tmp_path)], ["transcribe", str(tmp_path), "a.wav"]):
        assert "A run must hold a checkpoint; got none in" in refused(arguments)


def test_a_folder_that_holds_another_run(refused: Refused, trained: Path, corpus: Path) -> None:
    assert "which holds one" in refused(["train", "--data", str(corpus), "--output", str(trained)])
    resume = ["train", "--resume", "--output", str(trained)]
    assert "must keep its batch_size, 4; got 8" in refused([*resume, "--batch-size", "8"])


def test_a_model_of_another_version(refused: Refused, trained: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint.latest(trained), tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps({**config, "config_version": 7}), encoding="utf-8")
    assert "config_version must be 1; got 7" in refused(["evaluate", str(copy)])


def test_a_model_that_is_no_whisper_and_no_run(refused: Refused, trained: Path, corpus: Path, tmp_path: Path) -> None:
    model = Echo.from_pretrained(checkpoint.latest(trained))
    model.save_pretrained(tmp_path / "echo")
    said = refused(["transcribe", str(tmp_path / "echo"), "a.wav"])
    assert "must have Whisper's vocabulary; got one of 6 ids" in said
    BartConfig().save_pretrained(tmp_path / "bart")
    for folder, kind in (("echo", "echo_reference"), ("bart", "bart")):
        start = ["train", "--data", str(corpus), "--output", str(tmp_path / "run"), "--start", str(tmp_path / folder)]
        assert f"must be from a Whisper; got a model of type '{kind}'" in refused(start)
    with pytest.raises(ConfigError, match="of type 'bart'"):
        Echo.from_whisper(tmp_path / "bart")


def test_a_language_for_a_vocabulary_without_any(refused: Refused, trained: Path, corpus: Path) -> None:
    asked = ["transcribe", str(trained), *[str(corpus / f"test-{i}.wav") for i in range(2)], "--language", "de"]
    assert "must go with a vocabulary of Whisper's; got one of 6 ids" in refused(asked)


def test_a_recording_that_cannot_be_read(refused: Refused, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no recording")
    assert "An audio file must exist; got" in refused(["transcribe", str(trained), str(tmp_path / "none.wav")])
    assert "must be readable by libsndfile" in refused(["transcribe", str(trained), str(tmp_path / "text.wav")])
    assert "got the following arguments are required: FILES" in refused(["transcribe", str(trained)])


def test_an_output_that_is_no_folder(refused: Refused, trained: Path, corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "taken"
    output.write_text("a file")
    said = refused(["transcribe", str(trained), str(corpus / "test-0.wav"), "--output", str(output)])
    assert f"A transcript must be writable; got {output / 'test-0.txt'} (File exists)" in said
