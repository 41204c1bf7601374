"""The one sampling rate at which Echo, like Whisper, hears."""

from __future__ import annotations

SAMPLE_RATE = 16_000
