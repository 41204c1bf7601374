from __future__ import annotations

import numpy as np
import pytest
import torch

from echo_reference.errors import DataError
from echo_reference.features import LogMel


def speechlike(samples: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    time = torch.arange(samples) / 16_000
    return 0.3 * torch.sin(2 * torch.pi * 220 * time) + 0.01 * torch.randn(samples, generator=random)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_equals_whispers_extractor_when_padded_to_thirty_seconds(n_mels: int) -> None:
    from transformers import WhisperFeatureExtractor

    waveform = speechlike(37_123)
    extractor = WhisperFeatureExtractor(feature_size=n_mels)
    expected = extractor(waveform.numpy(), sampling_rate=16_000, return_tensors="np").input_features[0]
    ours = LogMel(n_mels, pad_to=480_000)(waveform).numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("samples", [400, 559, 560, 16_000, 16_159])
def test_one_frame_for_each_160_samples(samples: int) -> None:
    features = LogMel()(speechlike(samples))
    assert features.shape == (80, samples // 160)
    assert features.dtype == torch.float32


def test_louder_clip_is_shifted_by_the_logarithm_of_its_energy() -> None:
    mel, waveform = LogMel(), speechlike(8000)
    torch.testing.assert_close(mel(10 * waveform), mel(waveform) + 2 / 4, rtol=0, atol=1e-5)


def test_a_higher_floor_hides_what_is_quieter() -> None:
    whole, high = LogMel()(speechlike(8000)), LogMel(decades=2)(speechlike(8000))
    floor = whole.max() - 2 / 4
    assert (whole < floor).any()
    torch.testing.assert_close(high, whole.clamp(min=floor))


def test_centred_features_do_not_know_how_loud_a_band_is_on_the_whole() -> None:
    mel, waveform = LogMel(decades=4, centred=True), speechlike(8000)
    torch.testing.assert_close(mel(waveform).mean(1), torch.zeros(80), rtol=0, atol=1e-6)
    torch.testing.assert_close(mel(10 * waveform), mel(waveform), rtol=0, atol=1e-5)


@pytest.mark.parametrize("waveform", [torch.zeros(399), torch.zeros(2, 16_000), torch.zeros(0)])
def test_refuses_what_is_no_clip(waveform: torch.Tensor) -> None:
    with pytest.raises(DataError, match="at least 400 samples; got shape"):
        LogMel()(waveform)


@pytest.mark.parametrize("decades", [0.0, -1.0, float("inf"), float("nan")])
def test_refuses_a_floor_that_is_none(decades: float) -> None:
    with pytest.raises(DataError, match="decades must be positive and finite; got"):
        LogMel(decades=decades)


def test_refuses_no_bands() -> None:
    with pytest.raises(DataError, match="n_mels must be at least 1; got 0"):
        LogMel(0)
