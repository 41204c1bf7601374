"""Segments as text, JSON, SubRip or WebVTT."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Literal

from echo_reference.longform.segments import Segment

Format = Literal["text", "json", "srt", "vtt"]
FORMATS: dict[Format, str] = {"text": "txt", "json": "json", "srt": "srt", "vtt": "vtt"}
"""Endings of the files in each format."""


def render(segments: Sequence[Segment], form: Format) -> str:
    """The segments in a format, ending in a newline."""
    return _RENDERERS[form](segments)


def _text(segments: Sequence[Segment]) -> str:
    return " ".join(segment.text for segment in segments) + "\n"


def _json(segments: Sequence[Segment]) -> str:
    parts = [{"start": round(s.start, 3), "end": round(s.end, 3), "text": s.text} for s in segments]
    return json.dumps({"text": _text(segments).strip(), "segments": parts}, ensure_ascii=False, indent=1) + "\n"


def _srt(segments: Sequence[Segment]) -> str:
    cues = [f"{i}\n{_span(segment, ',')}\n{segment.text}\n" for i, segment in enumerate(segments, 1)]
    return "\n".join(cues)


def _vtt(segments: Sequence[Segment]) -> str:
    return "\n".join(["WEBVTT\n", *(f"{_span(segment, '.')}\n{_escaped(segment.text)}\n" for segment in segments)])


def _escaped(text: str) -> str:
    # What would be taken for markup.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _span(segment: Segment, mark: str) -> str:
    return f"{_clock(segment.start, mark)} --> {_clock(segment.end, mark)}"


def _clock(seconds: float, mark: str) -> str:
    whole, milliseconds = divmod(round(1000 * seconds), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{mark}{milliseconds:03d}"


_RENDERERS: dict[Format, Callable[[Sequence[Segment]], str]] = {
    "text": _text,
    "json": _json,
    "srt": _srt,
    "vtt": _vtt,
}
