from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import soundfile


class WriteTone(Protocol):
    def __call__(self, name: str, *, seconds: float = 0.5, rate: int = 16_000, channels: int = 1) -> Path: ...


@pytest.fixture
def write_tone(tmp_path: Path) -> WriteTone:
    """Write a 440 Hz tone to a file in the test's folder."""

    def write(name: str, *, seconds: float = 0.5, rate: int = 16_000, channels: int = 1) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
        soundfile.write(path, np.tile(tone[:, None], channels), rate)
        return path

    return write
