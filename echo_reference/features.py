"""Whisper's log-mel features, for a clip of any length."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from echo_reference.errors import DataError
from echo_reference.sampling import SAMPLE_RATE

HOP = 160
WINDOW = 400
DECADES = 8.0
FRAMES_PER_SECOND = SAMPLE_RATE // HOP

# Slaney's mel scale: linear up to 1 kHz (15 mel), then logarithmic with 27 mel per factor of 6.4.
_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27.0


def _mel_to_hertz(mel: Tensor) -> Tensor:
    above = _BREAK_HZ * torch.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return torch.where(mel < _BREAK_MEL, mel * _LINEAR_HZ_PER_MEL, above)


def _hertz_to_mel(hertz: float) -> float:
    if hertz < _BREAK_HZ:
        return hertz / _LINEAR_HZ_PER_MEL
    return _BREAK_MEL + math.log(hertz / _BREAK_HZ) / _LOG_STEP


def mel_filters(n_mels: int) -> Tensor:
    """Triangles of unit area, equally spaced on Slaney's mel scale from 0 to 8 kHz.

    Returns:
        (n_mels, 201) float32: row m times a power spectrum is the energy in band m.
    """
    bins = torch.linspace(0.0, SAMPLE_RATE / 2, WINDOW // 2 + 1, dtype=torch.float64)
    highest = _hertz_to_mel(SAMPLE_RATE / 2)
    edges = _mel_to_hertz(torch.linspace(0.0, highest, n_mels + 2, dtype=torch.float64))
    widths = edges.diff()
    slopes = edges[:, None] - bins
    rising = -slopes[:-2] / widths[:-1, None]
    falling = slopes[2:] / widths[1:, None]
    area = 2.0 / (edges[2:] - edges[:-2])
    return (torch.minimum(rising, falling).clamp(min=0.0) * area[:, None]).float()


class LogMel:
    """Turn a 16 kHz waveform into the features that Whisper reads.

    log10 of the mel energies, floored 8 below the clip's own maximum, then (x + 4) / 4. The clip is not
    padded to 30 s unless asked, so its features do not depend on what it is batched with. Agrees with
    `transformers.WhisperFeatureExtractor` on a clip padded to 30 s.

    Args:
        n_mels: bands; 80 for Whisper up to large-v2, 128 for large-v3 and turbo.
        pad_to: append zeros (or cut) to this many samples first; 480000 is Whisper's 30 s.
        decades: powers of ten between the clip's maximum and the floor; 8 is Whisper's. At 4 the noise of most
            recordings lies below it, and what one was made with is no longer heard in its silence.
        centred: take off each band's mean over the clip, and with it the level and the microphone's response
            (cepstral mean subtraction, Atal 1974).
    """

    def __init__(
        self, n_mels: int = 80, pad_to: int | None = None, *, decades: float = DECADES, centred: bool = False
    ) -> None:
        if n_mels < 1:
            raise DataError(f"n_mels must be at least 1; got {n_mels}. Use 80 or 128.")
        if not 0 < decades < math.inf:
            raise DataError(f"decades must be positive and finite; got {decades}. Use 8, as Whisper does, or 4.")
        self.n_mels, self.pad_to, self.decades, self.centred = n_mels, pad_to, decades, centred
        self._filters = mel_filters(n_mels)
        self._window = torch.hann_window(WINDOW)

    def __call__(self, waveform: Tensor) -> Tensor:
        """Features of one clip.

        Args:
            waveform: (samples,), float, 16 kHz, full scale 1.

        Returns:
            (n_mels, samples // 160) float32, with the samples that `pad_to` makes.

        Raises:
            DataError: the waveform is not one-dimensional or shorter than one window (25 ms).
        """
        if waveform.dim() != 1 or waveform.numel() < WINDOW:
            shape = tuple(waveform.shape)
            raise DataError(
                f"A waveform must be one-dimensional with at least {WINDOW} samples; got shape {shape}. "
                "Mix channels to mono and drop clips shorter than 25 ms."
            )
        if self.pad_to is not None:
            waveform = torch.nn.functional.pad(waveform, (0, self.pad_to - waveform.numel()))
        window, filters = self._window.to(waveform.device), self._filters.to(waveform.device)
        spectrum = torch.stft(waveform.float(), WINDOW, HOP, window=window, return_complex=True)
        energy = filters @ spectrum[:, :-1].abs().square()
        logarithm = energy.clamp(min=1e-10).log10()
        features = (torch.maximum(logarithm, logarithm.max() - self.decades) + 4.0) / 4.0
        return features - features.mean(1, keepdim=True) if self.centred else features
