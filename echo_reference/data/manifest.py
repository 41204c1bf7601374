"""Reading lists of recordings: NeMo-style manifests and LibriSpeech trees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from echo_reference.data.utterance import Utterance
from echo_reference.errors import DataError

_REQUIRED = ("audio_filepath", "text")


def read_manifest(path: str | Path) -> list[Utterance]:
    """Utterances of a NeMo-style manifest: one JSON object a line.

    Needs `audio_filepath` (relative to the manifest, or absolute) and `text`; takes `duration` and `speaker`
    where given. Blank lines are skipped. An utterance's id is its `audio_filepath`, with its line where a
    file occurs twice.

    Raises:
        DataError: the file is missing or holds no utterance, or a line is not such an object (its number
            is named).
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"A manifest must exist; got {path}. Correct the path.")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"A manifest must be UTF-8 text; got other bytes in {path}. Correct the path.") from error
    utterances: list[Utterance] = []
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if line.strip():
            utterance = _utterance(line, path, number)
            if utterance.id in seen:
                utterance = utterance._replace(id=f"{utterance.id}:{number}")
            seen.add(utterance.id)
            utterances.append(utterance)
    if not utterances:
        raise DataError(f"A manifest must list at least one utterance; got none in {path}. Fill it.")
    return utterances


def _utterance(line: str, path: Path, number: int) -> Utterance:
    try:
        entry: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"Each line of a manifest must be one JSON object; got {line[:60]!r} in {path}, line {number}. "
            "Correct or remove the line."
        ) from error
    missing = [key for key in _REQUIRED if not isinstance(entry, dict) or not isinstance(entry.get(key), str)]
    if missing:
        raise DataError(
            f"Each line of a manifest must have the strings {' and '.join(_REQUIRED)}; got no "
            f"{' and no '.join(missing)} in {path}, line {number}. Add what is missing."
        )
    duration = entry.get("duration", 0.0)
    if isinstance(duration, bool) or not isinstance(duration, int | float) or duration < 0:
        raise DataError(
            f"A duration must be a number of seconds; got {duration!r} in {path}, line {number}. Correct it."
        )
    file = str(entry["audio_filepath"])
    return Utterance(file, path.parent / file, entry["text"], float(duration), str(entry.get("speaker", "")))


def is_librispeech(folder: Path) -> bool:
    """Whether a folder is laid out as speaker/chapter/speaker-chapter.trans.txt."""
    return next(folder.glob("*/*/*.trans.txt"), None) is not None


def read_librispeech(folder: str | Path) -> list[Utterance]:
    """Utterances of a LibriSpeech split (a folder such as `dev-clean`), texts in lower case.

    Raises:
        DataError: the folder holds no transcript, or a transcript line has no text.
    """
    folder = Path(folder)
    utterances: list[Utterance] = []
    for transcript in sorted(folder.glob("*/*/*.trans.txt")):
        for number, line in enumerate(transcript.read_text(encoding="utf-8").splitlines(), start=1):
            name, _, text = line.partition(" ")
            if not text.strip():
                raise DataError(
                    f"A line of a transcript must be an id and a text; got {line!r} in {transcript}, line "
                    f"{number}. Restore the file."
                )
            audio = transcript.with_name(f"{name}.flac")
            utterances.append(Utterance(name, audio, text.strip().lower(), speaker=name.split("-")[0]))
    if not utterances:
        raise DataError(
            f"A LibriSpeech folder must hold speaker/chapter/*.trans.txt; got none in {folder}. "
            "Give the folder of one split, or the folder of all splits."
        )
    return utterances
