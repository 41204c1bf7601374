"""Who speaks in the synthetic corpus, and which voices are kept for testing."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np

Engine: TypeAlias = Literal["pico", "espeak"]
Split: TypeAlias = Literal["train", "validation", "test"]


class Voice(NamedTuple):
    """A synthetic speaker.

    An **unseen voice** is one whose variant occurs in no training clip, whatever the accent. eSpeak NG's variants
    differ in formants, pitch and voicing, so such a voice is a new speaker with a known accent. Pico has one
    speaker for each of two accents; its variants are lengths of the vocal tract with their pitch, so an
    unseen Pico voice is the known speaker with a tract length it was never given in training: a weaker test.

    Attributes:
        engine: what speaks.
        accent: the engine's name of the accent.
        variant: the engine's name of the voice; for Pico, the tract length.
        tract: formants, and with them pitch, are multiplied by this (a shorter vocal tract above 1).
        pitch: factor on the engine's default pitch, before `tract`.
    """

    engine: Engine
    accent: str
    variant: str
    tract: float
    pitch: float

    @property
    def name(self) -> str:
        """What is reported as the speaker."""
        return f"{self.engine}-{self.accent}-{self.variant}-{self.tract:.2f}"


_ESPEAK_ACCENTS = (
    *("en", "en-us", "en-029", "en-gb-scotland", "en-gb-x-gbclan"),
    *("en-gb-x-gbcwmd", "en-gb-x-rp", "en-us-nyc"),
)
_PICO_ACCENTS = ("en-US", "en-GB")

# Whispering, croaking and robot variants are left out. No family is on both sides (m1..m8 and f1..f5 are eight and
# five different settings; steph2, mike2, iven2, klatt2 and their like are not used at all).
_ESPEAK_VARIANTS: dict[Split, tuple[str, ...]] = {
    "train": (
        *("Alicia", "Andrea", "Andy", "Denis", "Gene", "Jacky", "Mario", "Mike", "Nguyen", "Reed"),
        *("adam", "anika", "announcer", "antonio", "aunty", "belinda", "caleb", "david", "ed", "edward"),
        *("f1", "f2", "f4", "grandma", "grandpa", "ian", "iven", "john", "klatt", "m1", "m2", "m3", "m5"),
        *("m7", "m8", "max", "michel", "miguel", "norbert", "paul", "quincy", "rob", "sandro", "shelby"),
        *("steph", "travis"),
    ),
    "validation": ("Alex", "f5", "m6", "pablo", "zac"),
    "test": ("Annie", "Lee", "Michael", "benjamin", "boris", "f3", "linda", "m4", "robert", "victor"),
}
_PICO_TRACTS: dict[Split, tuple[float, ...]] = {
    "train": (0.84, 0.88, 0.92, 0.96, 1.0, 1.04, 1.12, 1.16, 1.2),
    "validation": (0.94,),
    "test": (0.9, 1.08),
}


def draw_voice(engine: Engine, split: Split, random: np.random.Generator) -> Voice:
    """A random voice of an engine that belongs to a split."""
    if engine == "pico":
        tracts = _PICO_TRACTS[split]
        tract = tracts[int(random.integers(len(tracts)))]
        accent = _PICO_ACCENTS[int(random.integers(len(_PICO_ACCENTS)))]
        return Voice("pico", accent, f"tract{tract:.2f}", tract, float(random.uniform(0.85, 1.15)))
    variants = _ESPEAK_VARIANTS[split]
    variant = variants[int(random.integers(len(variants)))]
    accent = _ESPEAK_ACCENTS[int(random.integers(len(_ESPEAK_ACCENTS)))]
    tract = 0.9 + 0.05 * int(random.integers(5))
    return Voice("espeak", accent, variant, tract, float(random.uniform(0.8, 1.2)))
