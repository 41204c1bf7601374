"""Reading recordings as 16 kHz mono."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from echo_reference.data.utterance import Utterance
from echo_reference.errors import DataError, SilenceError
from echo_reference.sampling import SAMPLE_RATE

_LOWEST_RATE, _HIGHEST_RATE = 4_000, 384_000
_SHORTEST = 0.025  # seconds: one window of the features

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


def read_audio(path: str | Path) -> NDArray[np.float32]:
    """Samples of a file at 16 kHz, channels averaged.

    Args:
        path: WAV, FLAC, Ogg Vorbis or Opus, MP3: what libsndfile reads.

    Returns:
        (samples,) float32, full scale 1.

    Raises:
        DataError: the file is missing, unreadable, empty, shorter than 25 ms, has NaN samples, or a sampling rate
            outside 4 to 384 kHz.
        SilenceError: it has only zeros; a DataError too.
    """
    path = Path(path)
    try:
        # A folder is let through to be named as one; what is read from a device or a pipe might never end.
        # Read whole: libsndfile takes an error on the way for the end of the file.
        data = path.read_bytes() if path.is_file() or path.is_dir() else None
    except OSError as error:
        raise DataError(
            f"An audio file must be readable; got {path} ({error.strerror}). Correct the path or its permissions."
        ) from error
    if data is None:
        raise DataError(f"An audio file must exist; got {path}. Correct the path.")
    return decode_audio(BytesIO(data), name=str(path))


def decode_audio(file: BinaryIO, *, name: str) -> NDArray[np.float32]:
    """As `read_audio`, from an open file; `name` is for error messages."""
    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except RuntimeError as error:
        # Without libsndfile's name for an open file, which is its address.
        reason = error.error_string if isinstance(error, soundfile.LibsndfileError) else error
        raise DataError(
            f"An audio file must be readable by libsndfile; got {name} ({str(reason).rstrip('.')}). "
            "Convert it to WAV or FLAC, or restore it from its source."
        ) from error
    return to_model_rate(samples.mean(axis=1), rate, name=name)


def to_model_rate(samples: NDArray[np.float32], rate: int, *, name: str) -> NDArray[np.float32]:
    """Check mono samples and resample them to 16 kHz.

    Args:
        samples: (samples,), full scale 1.
        rate: in Hz.
        name: for error messages.

    Raises:
        DataError: as `read_audio`.
    """
    if not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
        raise DataError(
            f"A sampling rate must lie between {_LOWEST_RATE} and {_HIGHEST_RATE} Hz; got {rate} in {name}. "
            "Correct the file's header or its manifest."
        )
    if samples.size < _SHORTEST * rate:
        raise DataError(
            f"A recording must last at least 25 ms; got {samples.size} samples at {rate} Hz in {name}. Leave it out."
        )
    if not np.isfinite(samples).all():
        raise DataError(f"Samples must be finite; got NaN or infinity in {name}. Restore it from its source.")
    if not samples.any():
        raise SilenceError(f"A recording must not be silent; got only zeros in {name}. Leave it out.")
    if rate == SAMPLE_RATE:
        return np.ascontiguousarray(samples, dtype=np.float32)
    return np.asarray(soxr.resample(samples, rate, SAMPLE_RATE), dtype=np.float32)


def waveform(utterance: Utterance) -> NDArray[np.float32]:
    """16 kHz float samples of an utterance, from its file or from memory; raises as `read_audio`."""
    if isinstance(utterance.audio, Path):
        return read_audio(utterance.audio)
    samples = utterance.audio.astype(np.float32)
    scaled = samples / 32768.0 if utterance.audio.dtype == np.int16 else samples
    return to_model_rate(scaled, SAMPLE_RATE, name=utterance.id)


def keep_usable(
    utterances: Iterable[Utterance], prepare: Callable[[Utterance], _Result], *, strict: bool = False
) -> list[_Result]:
    """Prepare each utterance; leave out those that cannot be used, with one warning each and a final count.

    A training run must not die of one bad file in a million, and must not hide it either.

    Args:
        utterances: what to prepare.
        prepare: may raise `DataError` for an utterance.
        strict: raise at the first bad utterance. For evaluation, where leaving one out changes the result.

    Raises:
        DataError: every utterance failed, there was none, or `strict` and one failed.
    """
    results: list[_Result] = []
    failures: list[DataError] = []
    for utterance in utterances:
        try:
            results.append(prepare(utterance))
        except DataError as error:
            if strict:
                raise
            failures.append(error)
            _log.warning("Left out %s: %s", utterance.id, error)
    if not results:
        first = f" The first: {failures[0]}" if failures else ""
        raise DataError(
            f"A set must have at least one usable utterance; got {len(failures)} bad ones and no good one. "
            f"Correct the set.{first}"
        )
    if failures:
        _log.warning("%d of %d utterances were left out.", len(failures), len(failures) + len(results))
    return results
