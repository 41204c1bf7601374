"""A recording of any length, window by window."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from echo_reference.errors import ConfigError
from echo_reference.features import FRAMES_PER_SECOND, HOP, WINDOW
from echo_reference.longform.attempts import Doubts, read_window
from echo_reference.longform.segments import Segment, Word, group, join
from echo_reference.longform.short import read_words
from echo_reference.sampling import SAMPLE_RATE
from echo_reference.tokens import WhisperTokenizer
from echo_reference.tokens.marks import TIME_STEP
from echo_reference.training.evaluation import Reader
from echo_reference.training.settings import Decoding

_LEAST = 1.0
"""Seconds by which a window moves on at least, where it has text for all that follows."""
_WHISPERS_DOUBTS = Doubts()


@torch.no_grad()
def transcribe_long(
    reader: Reader,
    samples: Tensor,
    decoding: Decoding,
    *,
    window: float = 30.0,
    overlap: float | None = None,
    doubts: Doubts = _WHISPERS_DOUBTS,
) -> list[Segment]:
    """What is said in a recording, and when.

    A model with Whisper's vocabulary writes timestamps; each window begins where the last complete segment of the one
    before ended, and is read again where its transcript is not believed. Any other has its words aligned by the CTC
    head; its windows overlap, and are joined at a pause.

    Args:
        reader: the model and its vocabulary.
        samples: (samples,), 16 kHz.
        decoding: how a window is read, for models that write no timestamps.
        window: seconds read at once; at most what the model has positions for.
        overlap: seconds that two windows share, for models that write no timestamps; by default a sixth of a window,
            5 s at most.
        doubts: when a transcript with timestamps is not believed.

    Raises:
        ConfigError: the model writes no timestamps, and has no CTC head or an overlap not below half a window.
    """
    config = reader.model.config
    window = min(window, config.n_audio_ctx * config.subsampling / FRAMES_PER_SECOND)
    if isinstance(reader.tokenizer, WhisperTokenizer):
        # Drawn anew for each recording, so that its text does not depend on what was read before it.
        device = reader.model.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            return _by_timestamps(reader, reader.tokenizer, samples, window, doubts)
    if reader.model.ctc_head is None:
        raise ConfigError(
            "Times must come from timestamps or a CTC head; got a model with neither. Train it with ctc_vocab set."
        )
    shared = min(5.0, window / 6) if overlap is None else overlap
    if not 0 <= shared < window / 2:
        raise ConfigError(f"An overlap must be below half a window of {window:g} s; got {shared:g} s. Use less.")
    return _by_alignment(reader, samples, decoding, window, shared)


def _by_alignment(reader: Reader, samples: Tensor, decoding: Decoding, window: float, overlap: float) -> list[Segment]:
    words: list[Word] = []
    size, shared = round(window * SAMPLE_RATE), round(overlap * SAMPLE_RATE)
    start = 0
    while True:
        offset = start / SAMPLE_RATE
        (heard,) = read_words(reader, [samples[start : start + size]], decoding)
        heard = [Word(word.text, offset + word.start, offset + word.end) for word in heard]
        seam = (offset, (start + shared) / SAMPLE_RATE)
        words = join(words, heard, seam) if start else heard
        if len(samples) - (start + size) < WINDOW:
            return group(words)
        start += size - shared


def _by_timestamps(
    reader: Reader, tokenizer: WhisperTokenizer, samples: Tensor, window: float, doubts: Doubts
) -> list[Segment]:
    segments: list[Segment] = []
    size, start = round(window * SAMPLE_RATE), 0
    while len(samples) - start >= WINDOW:
        piece = samples[start : start + size]
        features = reader.features(piece)[None].to(reader.model.device)
        lengths = torch.tensor([len(piece) // HOP], device=features.device)
        written = read_window(reader.model, tokenizer, features, lengths, doubts)
        duration, offset = len(piece) / SAMPLE_RATE, start / SAMPLE_RATE
        found, cut = read_timestamps(written, tokenizer, duration)
        done = _done(found, cut, duration)
        found += [cut] if cut is not None and done == duration else []
        segments += [Segment(offset + s.start, offset + s.end, s.text) for s in found if s.text]
        start += round(done * SAMPLE_RATE)
    return segments


def _done(found: Sequence[Segment], cut: Segment | None, duration: float) -> float:
    """Seconds of a window that need not be read again.

    Whisper's rule: all of it where the last segment is complete, or none is; else up to the end of the last complete
    one, so that the next window reads the begun one whole. One begun with text so early that the window would hardly
    move on is kept as it is; one without text has nothing to keep.
    """
    last = found[-1].end if found else 0.0
    if cut is None or last < (_LEAST if cut.text else TIME_STEP):
        return duration
    return last


def read_timestamps(
    tokens: Sequence[int], tokenizer: WhisperTokenizer, duration: float
) -> tuple[list[Segment], Segment | None]:
    """Segments between timestamps, and one that is begun and not ended, or None.

    A segment that reaches beyond the window may be begun by its timestamp alone; its text is then empty.

    Args:
        tokens: as written, prompt included.
        tokenizer: whose tokens they are.
        duration: of the window, in seconds, beyond which nothing ends.
    """
    segments: list[Segment] = []
    start: float | None = None
    text: list[int] = []
    for token in tokens:
        seconds = tokenizer.marks.seconds(token)
        if seconds is None:
            text += [token] if start is not None else []
        elif text and start is not None:
            segments.append(Segment(start, min(seconds, duration), _line(tokenizer.decode(text))))
            start, text = None, []
        else:
            start = seconds
    # A model that hears padding may write of what lies beyond the recording.
    segments = [segment for segment in segments if segment.start < duration]
    if start is None or start >= duration:
        return segments, None
    return segments, Segment(start, duration, _line(tokenizer.decode(text)))


def _line(text: str) -> str:
    # An empty line would end the subtitle.
    return " ".join(text.split())
