"""Finding a corpus by its path or name."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError

from echo_reference.data.hub import load_hub
from echo_reference.data.manifest import is_librispeech, read_librispeech, read_manifest
from echo_reference.data.synthesis import Synthesis, synthesise
from echo_reference.data.utterance import Corpus, Utterance, complete
from echo_reference.errors import DataError

_FORMS = (
    "a folder with train.jsonl and test.jsonl, one .jsonl manifest, a LibriSpeech folder, "
    "hub:NAME, or synthetic[:MATERIAL][,KEY=VALUE...]"
)


def load_corpus(name: str | Path, cache: Path | None = None) -> Corpus:
    """The corpus of a path or name.

    | name | corpus |
    |---|---|
    | a folder with `train.jsonl` and `test.jsonl` | those, and `validation.jsonl` where it is there |
    | one `.jsonl` file | a tenth of it is held out as test |
    | a LibriSpeech folder | its splits `train-*`, `dev-*`, `test-*`; of a single split a tenth is test |
    | `hub:NAME` or `hub:NAME:CONFIGURATION` | see `load_hub` |
    | `synthetic`, `synthetic:digits`, `synthetic:digits,train=1000,seed=3` | see `Synthesis` |

    Without a validation split, a twentieth of train is held out (`hold_out`), never a part of test.

    Args:
        name: see the table.
        cache: where synthetic corpora are kept; `default_cache()` if left out.

    Raises:
        DataError: there is no such corpus, it has no test split, or its list has a flaw.
        MissingPackageError: the package that would read or make it is not installed.
    """
    kind, _, rest = str(name).partition(":")
    if kind == "synthetic":
        return synthesise(_settings(rest), cache)._replace(name=str(name))
    if kind == "hub":
        return load_hub(rest)
    path = Path(name)
    if path.is_file():
        return complete(str(name), read_manifest(path), [], [])
    if (path / "train.jsonl").is_file():
        return _manifests(path)
    if path.is_dir():
        return _librispeech(path)
    raise DataError(f"A corpus must be {_FORMS}; got {str(name)!r}. Correct the name or path.")


def _settings(text: str) -> Synthesis:
    fields = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        fields["material" if not equals else key] = key if not equals else yaml.safe_load(value)
    try:
        return Synthesis.model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        raise DataError(
            f"A synthetic corpus must be named synthetic[:MATERIAL][,KEY=VALUE...]; got {text!r} "
            f"({'.'.join(map(str, problem['loc']))}: {problem['msg']}). "
            f"The keys are {', '.join(Synthesis.model_fields)}."
        ) from error


def _manifests(folder: Path) -> Corpus:
    if not (folder / "test.jsonl").is_file():
        raise DataError(
            f"A corpus folder must have train.jsonl and test.jsonl; got no test.jsonl in {folder}. "
            "Add it, or give train.jsonl itself to have a tenth of it held out."
        )
    spare = folder / "validation.jsonl"
    validation = read_manifest(spare) if spare.is_file() else []
    return complete(
        str(folder), read_manifest(folder / "train.jsonl"), validation, read_manifest(folder / "test.jsonl")
    )


def _librispeech(folder: Path) -> Corpus:
    if is_librispeech(folder):
        return complete(str(folder), read_librispeech(folder), [], [])
    splits: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for part in sorted(folder.iterdir()):
        kind = part.name.partition("-")[0]
        if kind in splits and is_librispeech(part):
            splits[kind] += read_librispeech(part)
    if not splits["train"]:
        raise DataError(f"A corpus must be {_FORMS}; got the folder {folder}. Give the folder of such a set.")
    return complete(str(folder), splits["train"], splits["dev"], splits["test"])
