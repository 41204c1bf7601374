"""The pipeline writes with an Echo from a Whisper what it writes with that Whisper."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from transformers import WhisperFeatureExtractor, WhisperTokenizerFast, pipeline

from echo_reference import Echo, EchoProcessor
from echo_reference.errors import DataError
from echo_reference.tokens import WhisperTokenizer
from tests.echo_reference.test_whisper_settings import hub_whisper

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("whisper") is None, reason="openai-whisper's files are not installed"
)


@pytest.fixture(scope="module")
def pipelines() -> tuple[Any, Any]:
    """Echo's and Whisper's, of the same weights; both hear 1 s at once."""
    source = hub_whisper(51865)
    echo = Echo.from_whisper(source)
    processor = EchoProcessor.for_model(echo.config, WhisperTokenizer())
    end = "<|endoftext|>"
    engine = processor.tokenizer.backend_tokenizer
    tokenizer = WhisperTokenizerFast(
        tokenizer_object=engine, unk_token=end, bos_token=end, eos_token=end, pad_token=end
    )
    made = [
        pipeline("automatic-speech-recognition", model=model, tokenizer=each, feature_extractor=extractor, device="cpu")
        for model, each, extractor in (
            (echo, processor.tokenizer, processor.feature_extractor),
            (source, tokenizer, WhisperFeatureExtractor(16, chunk_length=1)),
        )
    ]
    return made[0], made[1]


def clip(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=round(seconds * 16000)).astype(np.float32)


@pytest.mark.parametrize(
    "asked", [{}, {"num_beams": 1}, {"language": "german", "task": "translate"}, {"max_new_tokens": 7}]
)
def test_a_clip_has_the_same_text(pipelines: tuple[Any, Any], asked: dict[str, Any]) -> None:
    texts = [[hear(clip(0.8, seed), generate_kwargs=asked)["text"].strip() for seed in range(3)] for hear in pipelines]
    assert texts[0] == texts[1]
    assert all(texts[0])


def test_a_long_recording_has_the_same_text_piece_by_piece(pipelines: tuple[Any, Any]) -> None:
    ours, theirs = pipelines
    long = clip(2.5)
    whole = ours(long, chunk_length_s=1, stride_length_s=0, ignore_warning=True)["text"]
    # Given all at once, Whisper's would leave out what two pieces have in common, and this one writes much twice.
    pieces = [theirs(long[start : start + 16000])["text"] for start in range(0, len(long), 16000)]
    assert "".join(whole.split()) == "".join("".join(pieces).split())
    assert len(set(pieces)) > 1


def test_what_the_pipeline_does_for_whisper_alone_is_refused(pipelines: tuple[Any, Any]) -> None:
    ours, _ = pipelines
    with pytest.raises(DataError, match=r"chunk_length_s with stride_length_s=0"):
        ours(clip(2.5))
    with pytest.raises(ValueError, match="apart from Whisper"):
        ours(clip(0.8), return_timestamps=True)
