from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from echo_reference.errors import DataError
from echo_reference.processing import EchoFeatureExtractor


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=samples).astype(np.float32)


def test_features_of_a_clip_do_not_depend_on_the_batch() -> None:
    extractor = EchoFeatureExtractor(20)
    alone, together = extractor(noise(5000)), extractor([noise(5000), noise(9000, 1)])
    assert together["input_features"].shape == (2, 20, 56)
    assert together["attention_mask"].sum(1).tolist() == [31, 56]
    assert torch.equal(together["input_features"][0, :, :31], alone["input_features"][0])
    assert not together["input_features"][0, :, 31:].any()


def test_padded_first_it_equals_whispers() -> None:
    ours = EchoFeatureExtractor(80, pad_to=30.0)(noise(20000), sampling_rate=16000)
    theirs = WhisperFeatureExtractor(80)(
        noise(20000), sampling_rate=16000, return_tensors="pt", return_attention_mask=True
    )
    torch.testing.assert_close(ours["input_features"], theirs["input_features"], atol=1e-4, rtol=0)
    assert torch.equal(ours["attention_mask"], theirs["attention_mask"].long())


def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    EchoFeatureExtractor(20, pad_to=4.0, decades=4.0, centred=True).save_pretrained(tmp_path)
    again = EchoFeatureExtractor.from_pretrained(tmp_path)
    assert (again.feature_size, again.pad_to, again.decades, again.centred) == (20, 4.0, 4.0, True)
    assert again(noise(5000))["input_features"].shape == (1, 20, 400)


def test_other_rates_and_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="16000 Hz; got 8000 Hz"):
        EchoFeatureExtractor()(noise(5000), sampling_rate=8000)
    with pytest.raises(DataError, match="one-dimensional"):
        EchoFeatureExtractor()(noise(5000).reshape(2, 2500))


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (np.zeros(0), r"one-dimensional with at least 400 samples; got shape \(0,\)"),
        (np.full(5000, np.nan), "Samples must be finite"),
        (np.full(5000, -np.inf), "Samples must be finite"),
        ((3000 * noise(5000)).astype(np.int16), "floating point numbers, full scale 1; got int16"),
        ("speech.wav", "floating point numbers, full scale 1; got <U10"),
        (noise(16001), r"at most 1 s; got 1.00006 s. Read it with `echo-reference transcribe`"),
    ],
)
def test_what_is_no_recording_is_refused(clip: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        EchoFeatureExtractor(20, pad_to=1.0)(clip)  # type: ignore[arg-type]
