"""The child process that makes one engine's share of a synthetic corpus.

Run as `python -m echo_reference.data.render ENGINE FOLDER`: reads FOLDER/ENGINE.jobs, writes the samples one after
another to FOLDER/ENGINE.pcm and prints each clip's length, so that the parent can show progress. A process
of its own, because eSpeak NG repeats itself only in a fresh one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from echo_reference.data.engines import Synthesiser, open_engine
from echo_reference.data.voices import Engine, Voice
from echo_reference.sampling import SAMPLE_RATE

_AUDIBLE = 0.01


class Job(NamedTuple):
    """One clip to make.

    Attributes:
        text: the transcript.
        spoken: the text as the engine gets it, possibly with commas.
        voice: who speaks.
        speed: factor on the engine's default.
        lead: seconds before the speech; `tail` after it.
        tail: seconds after the speech.
        peak: the largest sample.
        noise: level of white noise in dB below the peak.
        seed: of the noise.
    """

    text: str
    spoken: str
    voice: Voice
    speed: float
    lead: float
    tail: float
    peak: float
    noise: float
    seed: int

    def to_json(self) -> str:
        """One line."""
        return json.dumps(self)

    @classmethod
    def from_json(cls, line: str) -> Job:
        """The inverse of `to_json`."""
        fields = json.loads(line)
        return cls(*fields)._replace(voice=Voice(*fields[2]))


def make(job: Job, engine: Synthesiser) -> NDArray[np.int16]:
    """The clip: silence trimmed to `lead` and `tail`, scaled to `peak`, with noise, as 16-bit samples."""
    speech = engine.speak(job.spoken, job.voice, job.speed)
    loud = np.flatnonzero(np.abs(speech) > _AUDIBLE * np.abs(speech).max())
    speech = speech[loud[0] : loud[-1] + 1]
    margins = (round(job.lead * SAMPLE_RATE), round(job.tail * SAMPLE_RATE))
    clip = np.pad(speech * (job.peak / np.abs(speech).max()), margins)
    noise = np.random.default_rng(job.seed).standard_normal(clip.size, dtype=np.float32)
    clip += noise * np.float32(job.peak * 10.0 ** (-job.noise / 20.0))
    return np.asarray(np.clip(clip, -1.0, 1.0) * 32767.0, dtype=np.int16)


def main(engine: Engine, folder: Path) -> None:
    """Make every clip of the engine's list, in its order."""
    synthesiser = open_engine(engine)
    with (folder / f"{engine}.jobs").open(encoding="utf-8") as jobs, (folder / f"{engine}.pcm").open("wb") as pcm:
        for line in jobs:
            clip = make(Job.from_json(line), synthesiser)
            clip.tofile(pcm)
            print(clip.size, flush=True)


if __name__ == "__main__":
    main(cast("Engine", sys.argv[1]), Path(sys.argv[2]))
