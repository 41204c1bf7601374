from __future__ import annotations

import json
from pathlib import Path

import pytest

from echo_reference.data.manifest import read_librispeech, read_manifest
from echo_reference.errors import DataError


def test_paths_are_relative_to_the_manifest(tmp_path: Path) -> None:
    manifest = tmp_path / "sub" / "train.jsonl"
    manifest.parent.mkdir()
    first = {"audio_filepath": "audio/a.flac", "duration": 1, "text": "one", "speaker": 3, "extra": None}
    manifest.write_text(f"{json.dumps(first)}\n\n{json.dumps({'audio_filepath': '/b.wav', 'text': ''})}\n")
    one, two = read_manifest(manifest)
    assert one == ("audio/a.flac", manifest.parent / "audio/a.flac", "one", 1.0, "3")
    assert two == ("/b.wav", Path("/b.wav"), "", 0.0, "")


def test_a_file_listed_twice_gets_two_ids(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"audio_filepath": "a", "text": "x"}\n' * 2)
    assert [utterance.id for utterance in read_manifest(manifest)] == ["a", "a:2"]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("{", "one JSON object; got '{' in .*, line 2"),
        ("3", "got no audio_filepath and no text in .*, line 2"),
        ('{"text": "one"}', "got no audio_filepath in .*, line 2"),
        ('{"audio_filepath": "a", "text": 1}', "got no text in .*, line 2"),
        ('{"audio_filepath": "a", "text": "", "duration": "1"}', "duration must be a number.*'1' in .*, line 2"),
        ('{"audio_filepath": "a", "text": "", "duration": -1}', "got -1 in .*, line 2"),
    ],
)
def test_a_flawed_line_is_named(tmp_path: Path, second: str, message: str) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(f'{{"audio_filepath": "a", "text": "x"}}\n{second}\n')
    with pytest.raises(DataError, match=message):
        read_manifest(manifest)


@pytest.mark.parametrize(("content", "message"), [(b"\n \n", "got none in"), (b"\xff\xfe\x00", "must be UTF-8")])
def test_a_manifest_without_utterances_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_manifest(manifest)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must exist; got .*none\.jsonl"):
        read_manifest(tmp_path / "none.jsonl")


def test_librispeech_tree(tmp_path: Path) -> None:
    chapter = tmp_path / "84" / "121123"
    chapter.mkdir(parents=True)
    (chapter / "84-121123.trans.txt").write_text("84-121123-0000 GO DO\n84-121123-0001 IT'S ON\n")
    first, second = read_librispeech(tmp_path)
    assert first[:3] == ("84-121123-0000", chapter / "84-121123-0000.flac", "go do")
    assert (second.text, second.speaker) == ("it's on", "84")
    (chapter / "84-121123.trans.txt").write_text("84-121123-0000\n")
    with pytest.raises(DataError, match=r"an id and a text; got '84-121123-0000' in .*, line 1"):
        read_librispeech(tmp_path)


def test_a_folder_without_transcripts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"speaker/chapter/\*.trans.txt; got none"):
        read_librispeech(tmp_path)
