"""The two speech synthesisers, behind one call."""

from __future__ import annotations

import ctypes
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from echo_reference.data.voices import Engine, Voice
from echo_reference.errors import DataError, MissingPackageError
from echo_reference.sampling import SAMPLE_RATE

_PACKAGES: dict[Engine, str] = {"pico": "py-nanotts", "espeak": "espeakng-loader"}


class Synthesiser(Protocol):
    """Speaks a text in a voice."""

    def speak(self, text: str, voice: Voice, speed: float) -> NDArray[np.float32]:
        """16 kHz samples, full scale 1; `speed` is a factor on the engine's default."""


def installed_engines() -> dict[Engine, str]:
    """The engines of this environment with the versions of their packages."""
    found: dict[Engine, str] = {}
    for engine, package in _PACKAGES.items():
        try:
            found[engine] = version(package)
        except PackageNotFoundError:
            continue
    return found


def open_engine(engine: Engine) -> Synthesiser:
    """Start an engine.

    Raises:
        MissingPackageError: its package is not installed.
    """
    if engine not in installed_engines():
        package = _PACKAGES[engine]
        raise MissingPackageError(
            f"The engine {engine} must have its package {package}; got none. Run `pip install {package}`."
        )
    return _Pico() if engine == "pico" else _ESpeak()


def _with_tract(pcm: NDArray[np.int16], rate: int, voice: Voice, text: str) -> NDArray[np.float32]:
    if not pcm.any():
        raise DataError(
            f"A synthetic voice must be audible; got silence from {voice.name} for {text!r}. "
            f"Reinstall {_PACKAGES[voice.engine]}."
        )
    return np.asarray(soxr.resample(pcm.astype(np.float32) / 32768.0, rate * voice.tract, SAMPLE_RATE))


class _Pico:
    """SVOX Pico: the same bytes at every call."""

    def __init__(self) -> None:
        from py_nanotts import NanoTTS  # noqa: PLC0415 - an optional package

        self._engine: Any = NanoTTS()

    def speak(self, text: str, voice: Voice, speed: float) -> NDArray[np.float32]:
        # Resampling by the tract shortens by it too; speaking slower first keeps the speed.
        pcm = self._engine.speak(text, voice=voice.accent, speed=speed / voice.tract, pitch=voice.pitch)
        return _with_tract(np.frombuffer(pcm, dtype=np.int16), SAMPLE_RATE, voice, text)


class _ESpeak:
    """eSpeak NG: the same bytes only for the same texts in the same order in a fresh process.

    And only with its random numbers seeded, which it otherwise takes from the time of day.
    """

    _SYNCHRONOUS, _DO_NOT_EXIT, _UTF8, _CHARACTERS = 2, 0x8000, 1, 1
    _RATE, _PITCH = 1, 3
    _WORDS_PER_MINUTE, _DEFAULT_PITCH = 170, 50

    def __init__(self) -> None:
        import espeakng_loader  # noqa: PLC0415 - an optional package

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self.rate = int(self._library.espeak_Initialize(self._SYNCHRONOUS, 0, data, self._DO_NOT_EXIT))
        if self.rate <= 0:
            raise MissingPackageError(f"eSpeak NG must start; got error {self.rate}. Reinstall espeakng-loader.")
        self._parts: list[NDArray[np.int16]] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._callback = kind(self._collect)  # kept: the library holds only its address
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            self._parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(self, text: str, voice: Voice, speed: float) -> NDArray[np.float32]:
        name = f"{voice.accent}+{voice.variant}"
        if self._library.espeak_SetVoiceByName(name.encode()) != 0:
            raise DataError(f"A voice must be known to eSpeak NG; got {name!r}. Reinstall espeakng-loader.")
        words = round(self._WORDS_PER_MINUTE * speed / voice.tract)
        self._library.espeak_SetParameter(self._RATE, words, 0)
        self._library.espeak_SetParameter(self._PITCH, round(self._DEFAULT_PITCH * voice.pitch), 0)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self._parts.clear()
        data = text.encode() + b"\0"
        self._library.espeak_Synth(data, len(data), 0, self._CHARACTERS, 0, self._UTF8, None, None)
        pcm = np.concatenate([np.zeros(0, np.int16), *self._parts])
        return _with_tract(pcm, self.rate, voice, text)
