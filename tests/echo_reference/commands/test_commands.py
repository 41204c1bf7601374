from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from echo_reference.commands import run
from tests.echo_reference.runs import tiny_settings


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
