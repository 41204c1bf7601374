from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from echo_reference.commands.lots import Recording, lots

SECOND = 16000


def recordings(seconds: list[float | None], read: list[int] | None = None) -> Iterator[Recording]:
    for i, length in enumerate(seconds):
        if read is not None:
            read.append(i)
        yield Recording(Path(str(i)), None if length is None else torch.empty(round(length * SECOND)))


@pytest.mark.parametrize(
    ("seconds", "pad_to", "sizes"),
    [
        pytest.param([1.0] * 70, None, [32, 32, 6], id="many"),
        pytest.param([10.0] * 7, None, [6, 1], id="a minute of audio"),
        pytest.param([1.0] * 5 + [15.0], None, [5, 1], id="a minute once they are padded to the longest"),
        pytest.param([15.0] + [1.0] * 5, None, [4, 2], id="the longest first"),
        pytest.param([1.0] * 5, 30 * SECOND, [2, 2, 1], id="padded by the model"),
        pytest.param([1.0, 31.0, 1.0, 1.0, 31.0], None, [1, 1, 2, 1], id="long ones are alone"),
        pytest.param([1.0, None, 1.0, None], None, [4], id="silent and bad ones keep their place"),
        pytest.param([None, 31.0], None, [1, 1], id="a bad one before a long one"),
        pytest.param([], None, [], id="none"),
    ],
)
def test_short_recordings_are_read_together_in_their_order(
    seconds: list[float | None], pad_to: int | None, sizes: list[int]
) -> None:
    found = list(lots(recordings(seconds), 30 * SECOND, pad_to))
    assert [len(lot) for lot in found] == sizes
    assert [recording.path.name for lot in found for recording in lot] == [str(i) for i in range(len(seconds))]


def test_no_file_is_read_before_a_full_lot_is_taken() -> None:
    read: list[int] = []
    found = lots(recordings([1.0] * 33 + [31.0, 31.0], read), 30 * SECOND)
    counts = [(len(lot), len(read)) for lot in found]
    # A long one tells that the lot before it ends; it does not wait for the next.
    assert counts == [(32, 32), (1, 34), (1, 34), (1, 35)]
