from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
import yaml

from echo_reference.commands import run
from echo_reference.data.audio import read_audio
from echo_reference.longform import tuned
from echo_reference.model import Echo
from echo_reference.training.evaluation import transcribe
from echo_reference.training.start import trained_reader
from tests.echo_reference.runs import PITCHES, tiny_settings, tone
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


def test_evaluate_measures_a_split(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(trained)]) == 0
    said = capsys.readouterr().out
    assert re.search(
        r"WER 0\.00 % \(ctc\), CER 0\.00 %: of 6 words 0 substituted, .* on the test split of .*, 6 clips", said
    )
    assert run(["evaluate", str(trained), "--split", "validation", "--decoding", "greedy"]) == 0
    assert "(greedy)" in capsys.readouterr().out


def test_evaluate_scores_sentences_by_whispers_normaliser(
    trained: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # British and American spelling count as one word there, so that is the only way to be right here.
    entries = [json.loads(line) for line in (corpus / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    for entry in entries:
        entry["audio_filepath"] = str(corpus / entry["audio_filepath"])
        entry["text"] = f"Um, {entry['text']}!"
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, entries)), encoding="utf-8")
    evaluate = ["evaluate", str(trained), "--data", str(tmp_path)]
    assert run([*evaluate, "--style", "sentences"]) == 0
    assert "WER 0.00 %" in capsys.readouterr().out
    assert run(evaluate) == 0
    assert "WER 50.00 %" in capsys.readouterr().out


def test_train_ends_with_transcripts_knobs_a_report_and_the_error_rate(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    folder, config = tmp_path / "run", tmp_path / "settings.yaml"
    settings = tiny_settings(corpus, folder, steps=24)
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json", exclude_unset=True)), encoding="utf-8")
    assert run(["train", "--config", str(config), "--steps", "22"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("WER ")
    assert " on the test split, 6 clips, after 22 steps" in lines[-1]
    (report,) = [line.removeprefix("report: ") for line in lines if line.startswith("report: ")]
    assert Path(report).is_file()
    table = [line.strip() for line in lines[lines.index(next(line for line in lines if line.startswith("knobs"))) :]]
    for name in ("learning_rate", "attention_window", "rotation_penalty"):
        (row,) = [line for line in table if line.startswith(name)]
        assert row.endswith(tuple("0123456789"))
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert (result["step"], result["decoding"], result["words"]) == (22, "joint", 6)
    assert yaml.safe_load((folder / "settings.yaml").read_text(encoding="utf-8"))["steps"] == 22


def test_data_counts_a_corpus(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", str(corpus)]) == 0
    rows = [re.findall(r"\w[\w.]*", line) for line in capsys.readouterr().out.splitlines()]
    assert ["train", "23", "0.0", "1", "3"] in rows
    assert ["test", "6", "0.0", "1", "3"] in rows


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


@pytest.mark.skipif(importlib.util.find_spec("whisper") is None, reason="openai-whisper's files are not installed")
def test_transcribe_reads_with_a_bare_whisper(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = whisper(Size(32, 2, 1, 1, mels=16, vocabulary=51865, positions=50), **SPECIAL)
    source.save_pretrained(tmp_path / "whisper")
    soundfile.write(tmp_path / "clip.wav", tone("high", 0.5), 8000)
    assert run(["transcribe", str(tmp_path / "whisper"), str(tmp_path / "clip.wav")]) == 0
    # An untrained one writes anything; a word of it is what the same weights write through `generate`.
    written = capsys.readouterr().out.strip()
    reader, decoding = trained_reader(tmp_path / "whisper")
    assert decoding == "greedy"
    samples = torch.from_numpy(read_audio(tmp_path / "clip.wav"))
    heard = reader.features(samples)
    in_its_language = tuned(reader, samples)
    assert written == transcribe(in_its_language, [heard], "greedy")[0].strip()
    german = tuned(reader, samples, "de", "translate")
    assert german.tokenizer.prompt_ids == (50258, 50261, 50358, 50363) != in_its_language.tokenizer.prompt_ids
    asked = ["--language", "de", "--task", "translate"]
    assert run(["transcribe", str(tmp_path / "whisper"), str(tmp_path / "clip.wav"), *asked]) == 0
    assert capsys.readouterr().out.strip() == transcribe(german, [heard], "greedy")[0].strip()
    # The same weights, saved as an Echo.
    Echo.from_whisper(source).save_pretrained(tmp_path / "echo")
    assert run(["transcribe", str(tmp_path / "echo"), str(tmp_path / "clip.wav")]) == 0
    assert capsys.readouterr().out.strip() == written
    assert run(["transcribe", str(tmp_path), str(tmp_path / "clip.wav")]) == 2
    assert "must hold a checkpoint" in capsys.readouterr().err
