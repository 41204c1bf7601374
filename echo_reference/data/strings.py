"""Connected digits: strings of single-digit recordings of one speaker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from echo_reference.data.audio import waveform
from echo_reference.data.utterance import Utterance
from echo_reference.errors import DataError
from echo_reference.sampling import SAMPLE_RATE


class DigitStrings:
    """Endless strings of words joined from recordings of single words, the speaker constant in a string.

    String k is a pure function of (recordings, seed, k): words and recordings are drawn uniformly, with random
    pauses before, between and after them, and the whole is placed in a clip of fixed length. A draw too long
    for the clip is shortened by its last word until it fits.

    Args:
        recordings: of single words, with their speakers.
        seed: of the draws.
        longest: most words in a string.
        seconds: length of a clip.
        pause: longest pause in seconds.
    """

    def __init__(
        self,
        recordings: Sequence[Utterance],
        seed: int,
        *,
        longest: int = 5,
        seconds: float = 3.0,
        pause: float = 0.2,
    ) -> None:
        self.seed, self.longest, self.pause = seed, longest, pause
        self.samples = round(seconds * SAMPLE_RATE)
        takes: dict[str, list[tuple[str, NDArray[np.float32]]]] = {}
        for recording in recordings:
            samples = waveform(recording)
            if samples.size <= self.samples:
                takes.setdefault(recording.speaker, []).append((recording.text, samples))
        if not takes:
            raise DataError(
                f"Strings must have recordings of at most {seconds} s to join; got none among {len(recordings)}. "
                "Give a corpus of single words."
            )
        self._speakers = [takes[speaker] for speaker in sorted(takes)]
        self._names = sorted(takes)

    def __call__(self, number: int) -> Utterance:
        """String `number`, as float samples of the fixed length."""
        random = np.random.default_rng([self.seed, number])
        speaker = int(random.integers(len(self._speakers)))
        takes = self._speakers[speaker]
        chosen = [takes[random.integers(len(takes))] for _ in range(random.integers(1, self.longest + 1))]
        while sum(samples.size for _, samples in chosen) > self.samples:
            chosen.pop()
        audio = np.zeros(self.samples, dtype=np.float32)
        spare = self.samples - sum(samples.size for _, samples in chosen)
        place = 0
        for _, samples in chosen:
            gap = min(int(random.uniform(0.0, self.pause) * SAMPLE_RATE), spare)
            place, spare = place + gap, spare - gap
            audio[place : place + samples.size] = samples
            place += samples.size
        text = " ".join(word for word, _ in chosen)
        return Utterance(f"string-{self.seed}-{number}", audio, text, self.samples / SAMPLE_RATE, self._names[speaker])

    def take(self, count: int, start: int = 0) -> list[Utterance]:
        """Strings `start` to `start + count - 1`."""
        return [self(number) for number in range(start, start + count)]
