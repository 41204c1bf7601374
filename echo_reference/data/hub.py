"""Reading speech sets through the Hugging Face `datasets` package."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from echo_reference.data.audio import decode_audio, keep_usable, read_audio
from echo_reference.data.utterance import Corpus, Utterance, complete
from echo_reference.errors import DataError, MissingPackageError
from echo_reference.sampling import SAMPLE_RATE

_TEXT_COLUMNS = ("text", "sentence", "transcription", "transcript", "normalized_text")
_SPEAKER_COLUMNS = ("speaker_id", "speaker", "client_id")


def load_hub(name: str) -> Corpus:
    """A data set of the hub, or of a local folder that `datasets.load_dataset` understands.

    Recordings are decoded into memory by soundfile, so neither torchcodec nor ffmpeg is needed.

    Args:
        name: "owner/set" or "owner/set:configuration".

    Raises:
        MissingPackageError: `datasets` is not installed.
        DataError: there is no train split, or no audio or text column.
    """
    try:
        import datasets  # noqa: PLC0415 - an optional package
    except ImportError as error:
        raise MissingPackageError(
            "A hub data set must be read by the package datasets; got none. Run `pip install torch-homeostat[hub]`."
        ) from error
    path, _, configuration = name.partition(":")
    splits = datasets.load_dataset(path, configuration or None)
    if "train" not in splits:
        raise DataError(f"A hub data set must have a train split; got {sorted(splits)} in {name}. Use another.")
    undecoded = datasets.Audio(decode=False)
    spare = next((split for split in ("dev", "valid") if split in splits), "validation")
    train, validation, test = (
        _utterances(splits[split], undecoded, f"{path}/{split}") if split in splits else []
        for split in ("train", spare, "test")
    )
    return complete(f"hub:{name}", train, validation, test)


def _utterances(split: Any, undecoded: Any, name: str) -> list[Utterance]:
    text = next((column for column in _TEXT_COLUMNS if column in split.column_names), None)
    if text is None or "audio" not in split.column_names:
        raise DataError(
            f"A hub data set must have an audio column and one of {', '.join(_TEXT_COLUMNS)}; got "
            f"{split.column_names} in {name}. Rename its columns, or export it as a manifest."
        )
    speaker = next((column for column in _SPEAKER_COLUMNS if column in split.column_names), "")
    rows = split.cast_column("audio", undecoded)
    blanks = (Utterance(f"{name}/{i}", Path(), "") for i in range(len(rows)))
    return keep_usable(blanks, lambda blank: _fill(blank, rows[int(blank.id.rsplit("/", 1)[1])], text, speaker))


def _fill(blank: Utterance, row: Mapping[str, Any], text: str, speaker: str) -> Utterance:
    """The utterance of a row; raises `DataError` when its audio cannot be used."""
    audio = row["audio"]
    data = audio["bytes"]
    samples = decode_audio(io.BytesIO(data), name=blank.id) if data else read_audio(audio["path"])
    seconds = samples.size / SAMPLE_RATE
    return Utterance(blank.id, samples, str(row[text]), seconds, str(row.get(speaker, "")))
