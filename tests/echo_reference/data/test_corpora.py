from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from echo_reference.data.corpora import load_corpus
from echo_reference.data.utterance import Corpus, Utterance, hold_out
from echo_reference.errors import DataError

ONE_HUNDRED = [Utterance(f"clip-{i}", Path(f"{i}.wav"), "one") for i in range(100)]


def write_manifest(path: Path, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"audio_filepath": f"{path.stem}-{i}.wav", "text": "one"}) for i in range(count)]
    path.write_text("\n".join(lines))


def write_librispeech(folder: Path, count: int) -> None:
    chapter = folder / "1" / "2"
    chapter.mkdir(parents=True)
    lines = [f"{folder.name}-{i} ONE" for i in range(count)]
    (chapter / "1-2.trans.txt").write_text("\n".join(lines))


def sizes(corpus: Corpus) -> list[int]:
    return [len(split) for split in corpus[1:]]


def test_what_is_held_out_depends_on_the_ids_alone() -> None:
    train, held = hold_out(ONE_HUNDRED, 0.1)
    assert (len(train), len(held)) == (90, 10)
    backwards = hold_out(ONE_HUNDRED[::-1], 0.1)
    assert {u.id for u in backwards[1]} == {u.id for u in held}
    grown = hold_out([*ONE_HUNDRED, Utterance("new", Path(), "")], 0.1)
    assert len({u.id for u in held} - {u.id for u in grown[1]}) <= 1
    with pytest.raises(DataError, match=r"at least 2 utterances .* got 1"):
        hold_out(ONE_HUNDRED[:1])


def test_a_folder_of_manifests(tmp_path: Path) -> None:
    write_manifest(tmp_path / "train.jsonl", 40)
    with pytest.raises(DataError, match=r"got no test\.jsonl in"):
        load_corpus(tmp_path)
    write_manifest(tmp_path / "test.jsonl", 7)
    corpus = load_corpus(tmp_path)
    assert sizes(corpus) == [38, 2, 7]
    assert all(utterance.id.startswith("train") for utterance in corpus.validation)
    write_manifest(tmp_path / "validation.jsonl", 3)
    assert sizes(load_corpus(str(tmp_path))) == [40, 3, 7]


def test_one_manifest(tmp_path: Path) -> None:
    write_manifest(tmp_path / "all.jsonl", 100)
    corpus = load_corpus(tmp_path / "all.jsonl")
    assert sizes(corpus) == [86, 4, 10]
    assert len({utterance.id for split in corpus[1:] for utterance in split}) == 100


def test_librispeech_with_and_without_splits(tmp_path: Path) -> None:
    for name, count in (("train-clean-5", 20), ("train-other", 20), ("dev-clean", 4), ("test-clean", 6)):
        write_librispeech(tmp_path / name, count)
    assert sizes(load_corpus(tmp_path)) == [40, 4, 6]
    assert sizes(load_corpus(tmp_path / "train-other")) == [17, 1, 2]


def test_synthetic_by_name(tmp_path: Path) -> None:
    name = "synthetic:digits,train=2,validation=1,test=1,longest=1,espeak_share=0"
    corpus = load_corpus(name, tmp_path)
    assert (corpus.name, sizes(corpus)) == (name, [2, 1, 1])
    assert all(" " not in utterance.text for split in corpus[1:] for utterance in split)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("synthetic:klingon", "got 'klingon' .material: .*'digits'"),
        ("synthetic:digits,clips=3", "clips: Extra inputs are not permitted"),
        ("synthetic:train=0", "train: Input should be greater than or equal to 1"),
        ("nowhere", "got 'nowhere'. Correct the name or path"),
    ],
)
def test_a_wrong_name_is_explained(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load_corpus(name, tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"got the folder .*Give the folder of such a set"):
        load_corpus(tmp_path)


def test_real_corpora(shared_data: Path) -> None:
    assert sizes(load_corpus(shared_data / "fsdd")) == [2565, 135, 300]
    assert sizes(load_corpus(os.fspath(shared_data / "kathleen"))) == [1081, 57, 125]
