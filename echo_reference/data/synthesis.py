"""The embedded corpus: speech synthesised once, cached, the same for everyone with the same settings."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from echo_reference.data.engines import installed_engines
from echo_reference.data.material import Material, draw_text
from echo_reference.data.render import Job
from echo_reference.data.studio import record
from echo_reference.data.utterance import Corpus, Utterance
from echo_reference.data.voices import Engine, Split, draw_voice
from echo_reference.errors import MissingPackageError
from echo_reference.sampling import SAMPLE_RATE

_SAMPLES, _LIST = "samples.npy", "utterances.json"
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class Synthesis(BaseModel):
    """Settings of a synthetic corpus; equal settings and engine versions give equal samples.

    To the last bit on machines of one kind (measured on Linux); elsewhere the resampler's rounding may differ.

    Args:
        material: what is said; see `draw_text`.
        train: clips to learn from.
        validation: clips in voices that are in neither other split.
        test: clips in voices that are in neither other split (`Voice` says what an unseen voice is).
        longest: most digits in a string.
        espeak_share: share of the clips spoken by eSpeak NG where it is installed; the rest, or without it
            all, by Pico.
        seed: of texts, voices and noise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    material: Material = "mixed"
    train: int = Field(4000, ge=1)
    validation: int = Field(200, ge=1)
    test: int = Field(400, ge=1)
    longest: int = Field(5, ge=1, le=20)
    espeak_share: float = Field(0.7, ge=0.0, le=1.0)
    seed: int = Field(0, ge=0)


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/homeostat`, or `~/.cache/homeostat`."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "homeostat"


def plan(settings: Synthesis, engines: Sequence[Engine]) -> list[tuple[Split, Job]]:
    """Every clip of a corpus, as a pure function of the settings and the engines at hand."""
    random = np.random.default_rng(settings.seed)
    jobs: list[tuple[Split, Job]] = []
    for split, count in zip(_SPLITS, (settings.train, settings.validation, settings.test), strict=True):
        for _ in range(count):
            by_espeak = "espeak" in engines and random.random() < settings.espeak_share
            engine: Engine = "espeak" if by_espeak or "pico" not in engines else "pico"
            text = draw_text(settings.material, settings.longest, random)
            pauses = settings.material == "digits" and random.random() < 0.25
            job = Job(
                text=text,
                spoken=text.replace(" ", ", ") if pauses else text,
                voice=draw_voice(engine, split, random),
                speed=float(random.uniform(0.85, 1.3)),
                lead=float(random.uniform(0.03, 0.25)),
                tail=float(random.uniform(0.03, 0.25)),
                peak=float(random.uniform(0.2, 0.9)),
                noise=float(random.uniform(35.0, 60.0)),
                seed=int(random.integers(2**31)),
            )
            jobs.append((split, job))
    return jobs


def synthesise(settings: Synthesis, cache: Path | None = None) -> Corpus:
    """The corpus of these settings: from the cache, or made now with a progress bar.

    A corpus is written to a temporary folder and renamed when it is complete, so a run that is killed leaves
    no half of one, and two runs that make the same one do not disturb each other.

    Args:
        settings: what to make.
        cache: folder of all corpora; `default_cache()` if left out.

    Raises:
        MissingPackageError: no engine is installed.
        DataError: an engine failed.
    """
    engines = installed_engines()
    if not engines:
        raise MissingPackageError(
            "Synthetic speech must have an engine; got neither py-nanotts nor espeakng-loader. "
            "Run `pip install py-nanotts`."
        )
    jobs = plan(settings, list(engines))
    key = hashlib.sha256(json.dumps([engines, jobs]).encode()).hexdigest()[:24]
    root = (cache or default_cache()) / "speech"
    folder = root / key
    if not (folder / _LIST).is_file():
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix="making-") as working:
            made = Path(working) / "corpus"
            made.mkdir()
            _write(jobs, record([job for _, job in jobs], Path(working)), made)
            try:
                made.rename(folder)
            except OSError:
                if not (folder / _LIST).is_file():  # else another run was faster, with the same result
                    raise
    return _load(folder)


def _write(jobs: Sequence[tuple[Split, Job]], clips: Sequence[NDArray[np.int16]], folder: Path) -> None:
    np.save(folder / _SAMPLES, np.concatenate(clips))
    entries = [
        {"split": split, "text": job.text, "speaker": job.voice.name, "samples": clip.size}
        for (split, job), clip in zip(jobs, clips, strict=True)
    ]
    (folder / _LIST).write_text(json.dumps(entries), encoding="utf-8")


def _load(folder: Path) -> Corpus:
    samples = np.load(folder / _SAMPLES, mmap_mode="r")
    splits: dict[str, list[Utterance]] = {split: [] for split in _SPLITS}
    stop = 0
    for number, entry in enumerate(json.loads((folder / _LIST).read_text(encoding="utf-8"))):
        start, stop = stop, stop + entry["samples"]
        seconds = entry["samples"] / SAMPLE_RATE
        name = f"synthetic-{number}"
        utterance = Utterance(name, samples[start:stop], entry["text"], seconds, entry["speaker"])
        splits[entry["split"]].append(utterance)
    return Corpus("synthetic", splits["train"], splits["validation"], splits["test"])
