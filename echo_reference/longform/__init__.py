"""Transcripts with times, of recordings of any length."""

from __future__ import annotations

from echo_reference.longform.attempts import Doubts
from echo_reference.longform.language import tuned
from echo_reference.longform.segments import Segment, Word, group
from echo_reference.longform.short import transcribe_short
from echo_reference.longform.subtitles import FORMATS, Format, render
from echo_reference.longform.transcribe import transcribe_long

__all__ = [
    "FORMATS",
    "Doubts",
    "Format",
    "Segment",
    "Word",
    "group",
    "render",
    "transcribe_long",
    "transcribe_short",
    "tuned",
]
