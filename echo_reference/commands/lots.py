"""Which audio files are read together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from echo_reference.sampling import SAMPLE_RATE

_MOST = 32
_SAMPLES = 60 * SAMPLE_RATE


class Recording(NamedTuple):
    """An audio file and its 16 kHz samples (samples,): none where it is silent, or why it cannot be read."""

    path: Path
    samples: Tensor | None = None
    reason: str = ""


def lots(recordings: Iterable[Recording], room: int, pad_to: int | None = None) -> Iterator[list[Recording]]:
    """Recordings in their order, consecutive short ones together, as soon as a lot is full.

    A lot has 32 recordings, or 60 s of audio once all are padded to the longest, at most: enough for small models to be
    quick, and no more memory than two of Whisper's windows take.

    Args:
        recordings: read no sooner than they are needed.
        room: samples of a short one at most; a longer one is alone.
        pad_to: samples to which the model pads each.
    """
    lot: list[Recording] = []
    longest = 0
    for recording in recordings:
        size = 0 if recording.samples is None else max(len(recording.samples), pad_to or 0)
        alone = recording.samples is not None and len(recording.samples) > room
        if lot and (alone or max(longest, size) * (len(lot) + 1) > _SAMPLES):
            yield lot
            lot, longest = [], 0
        lot.append(recording)
        longest = max(longest, size)
        if alone or len(lot) == _MOST:
            yield lot
            lot, longest = [], 0
    if lot:
        yield lot
