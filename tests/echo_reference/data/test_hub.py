from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from echo_reference.data.corpora import load_corpus
from echo_reference.errors import DataError, MissingPackageError
from tests.echo_reference.data.conftest import WriteTone


class Split:
    """As much of `datasets.Dataset` as is used: rows whose audio is not decoded."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.column_names = list(rows[0])

    def cast_column(self, column: str, feature: SimpleNamespace) -> Split:
        assert (column, feature.decode) == ("audio", False)
        return self

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)


def rows(path: Path, count: int, text: str = "sentence") -> list[dict[str, Any]]:
    audio = [{"bytes": path.read_bytes(), "path": "in archive"}, {"bytes": None, "path": str(path)}]
    return [{"audio": audio[i % 2], text: f"one {i}", "speaker_id": i} for i in range(count)]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stand in for the package `datasets`, serving the splits given."""

    def install(splits: dict[str, Split]) -> list[tuple[str, str | None]]:
        asked: list[tuple[str, str | None]] = []
        module = ModuleType("datasets")
        module.load_dataset = lambda *name: asked.append(name) or splits  # type: ignore[attr-defined]
        module.Audio = lambda decode: SimpleNamespace(decode=decode)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "datasets", module)
        return asked

    return install


def test_splits_columns_and_configuration(serve: Any, write_tone: WriteTone) -> None:
    path = write_tone("tone.flac", rate=22_050)
    asked = serve({"train": Split(rows(path, 40)), "dev": Split(rows(path, 2)), "test": Split(rows(path, 3))})
    corpus = load_corpus("hub:someone/speech:clean")
    assert asked == [("someone/speech", "clean")]
    assert [len(split) for split in corpus[1:]] == [40, 2, 3]
    first, second = corpus.train[:2]
    assert (first.text, first.speaker, first.duration) == ("one 0", "0", pytest.approx(0.5))
    np.testing.assert_array_equal(first.audio, second.audio)


def test_missing_splits_are_held_out_of_train(serve: Any, write_tone: WriteTone) -> None:
    serve({"train": Split(rows(write_tone("tone.flac"), 40))})
    assert [len(split) for split in load_corpus("hub:a/b")[1:]] == [34, 2, 4]


def test_a_bad_recording_in_train_is_left_out(serve: Any, write_tone: WriteTone) -> None:
    train = rows(write_tone("tone.flac"), 40)
    train[3]["audio"] = {"bytes": b"no audio", "path": None}
    serve({"train": Split(train)})
    assert sum(len(split) for split in load_corpus("hub:a/b")[1:]) == 39


def test_flawed_sets_are_explained(serve: Any, write_tone: WriteTone) -> None:
    path = write_tone("tone.flac")
    serve({"test": Split(rows(path, 1))})
    with pytest.raises(DataError, match=r"must have a train split; got \['test'\] in a/b"):
        load_corpus("hub:a/b")
    serve({"train": Split(rows(path, 3, text="label"))})
    with pytest.raises(DataError, match=r"got \['audio', 'label', 'speaker_id'\] in a/b/train"):
        load_corpus("hub:a/b")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingPackageError, match=r"pip install torch-homeostat\[hub\]"):
        load_corpus("hub:a/b")
