"""Words and segments with the times at which they are said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_PAUSE = 1.0
_LONGEST = 7.0


class Word(NamedTuple):
    """A word and when it is said, in seconds."""

    text: str
    start: float
    end: float


class Segment(NamedTuple):
    """A part of a transcript and when it is said, in seconds."""

    start: float
    end: float
    text: str


def group(words: Sequence[Word]) -> list[Segment]:
    """Join words to segments that end at pauses of a second, and last at most seven."""
    segments: list[Segment] = []
    for word in words:
        last = segments[-1] if segments else None
        if last is not None and word.start - last.end < _PAUSE and word.end - last.start <= _LONGEST:
            segments[-1] = Segment(last.start, word.end, f"{last.text} {word.text}")
        else:
            segments.append(Segment(word.start, word.end, word.text))
    return segments


def join(left: Sequence[Word], right: Sequence[Word], overlap: tuple[float, float]) -> list[Word]:
    """Words of two windows that overlap, each said once.

    The seam is laid in the middle of the widest pause that the left window hears within the overlap; before it the
    left window is believed, after it the right one, since each hears worst at its own edge. A word that a window
    stretches across the seam ends, or begins, there.

    Args:
        left: words of the earlier window.
        right: words of the later one.
        overlap: from where to where both hear, in seconds.
    """
    first, last = overlap
    edges = [first]
    for word in left:
        if word.end > first and word.start < last:
            edges += [max(word.start, first), min(word.end, last)]
    edges.append(last)
    pauses = list(zip(edges[::2], edges[1::2], strict=True))
    start, end = max(pauses, key=lambda pause: pause[1] - pause[0])
    seam = (start + end) / 2
    before = [word._replace(end=min(word.end, seam)) for word in left if (word.start + word.end) / 2 <= seam]
    after = [word._replace(start=max(word.start, seam)) for word in right if (word.start + word.end) / 2 > seam]
    return before + after
