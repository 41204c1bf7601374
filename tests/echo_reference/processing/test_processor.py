from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSpeechSeq2Seq, AutoProcessor, AutoTokenizer, pipeline

from echo_reference import Echo, EchoConfig, EchoProcessor
from echo_reference.errors import DataError
from echo_reference.tokens import CharacterTokenizer
from tests.echo_reference.small import generic_echo

TOKENIZER = CharacterTokenizer("abcdefghij klmnop")


def clip(seed: int, samples: int = 6400) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=samples).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("echo")
    model = generic_echo(1).eval()
    model.save_pretrained(folder)
    EchoProcessor.for_model(model.config, TOKENIZER).save_pretrained(folder)
    return folder


def test_it_hears_as_the_model_was_trained_to() -> None:
    config = EchoConfig.preset("digits", mel_decades=4.0, mel_centred=True)
    heard = EchoProcessor.for_model(config, TOKENIZER)(clip(0))["input_features"][0]
    assert torch.equal(heard, config.log_mel()(torch.from_numpy(clip(0))))
    assert not torch.equal(heard, EchoConfig.preset("digits").log_mel()(torch.from_numpy(clip(0))))


def test_audio_and_text_become_what_the_model_takes(folder: Path) -> None:
    processor = EchoProcessor.from_pretrained(folder)
    batch = processor([clip(0), clip(1, 4800)], ["abc d", "a"], sampling_rate=16000)
    assert batch["labels"].tolist() == [[3, 4, 5, 13, 6, 2], [3, 2, -100, -100, -100, -100]]
    assert batch["attention_mask"].sum(1).tolist() == [40, 30]
    model = Echo.from_pretrained(folder).eval()
    out = model(**batch)
    by_lengths = model(batch["input_features"], feature_lengths=torch.tensor([40, 30]), labels=batch["labels"])
    assert torch.equal(out.loss, by_lengths.loss)
    assert processor.batch_decode(batch["labels"][:1], skip_special_tokens=True) == ["abc d"]
    with pytest.raises(DataError, match="audio, text or both"):
        processor()


def test_it_is_called_as_processors_of_transformers_are(folder: Path) -> None:
    processor, audio = EchoProcessor.from_pretrained(folder), clip(0)
    plain = processor([audio, clip(1, 4800)], ["abc d", "a"])
    batch = processor(audio, sampling_rate=16000, return_tensors="pt")
    assert batch.keys() == {"input_features", "attention_mask"}
    assert torch.equal(batch["input_features"], plain["input_features"][:1])
    options = {"sampling_rate": 16000, "return_tensors": "np", "padding": "longest", "truncation": False}
    batch = processor(audio=[audio, clip(1, 4800)], text=["abc d", "a"], **options)
    assert batch.keys() == plain.keys()
    for name in plain:
        assert isinstance(batch[name], np.ndarray), name
        assert np.array_equal(batch[name], plain[name]), name
    labels = processor(text="abc d", return_tensors="pt")
    assert (labels.keys(), labels["labels"].tolist()) == ({"labels"}, [[3, 4, 5, 13, 6, 2]])
    assert "attention_mask" not in processor(audio, return_attention_mask=False)
    assert processor(audio, padding=False)["input_features"].shape == (1, 8, 40)
    with pytest.raises(DataError, match="several lengths must be padded to make one tensor; got padding=False"):
        processor([audio, clip(1, 4800)], padding=False)


def test_the_auto_classes_know_echo(folder: Path) -> None:
    assert isinstance(AutoConfig.from_pretrained(folder), EchoConfig)
    assert isinstance(AutoModelForSpeechSeq2Seq.from_pretrained(folder), Echo)
    assert isinstance(AutoProcessor.from_pretrained(folder), EchoProcessor)
    assert AutoTokenizer.from_pretrained(folder).decode([3, 4]) == "ab"


@pytest.mark.parametrize("mask_audio", [True, False])
def test_the_pipeline_transcribes_arrays(folder: Path, tmp_path: Path, mask_audio: bool) -> None:
    model = Echo.from_pretrained(folder, mask_audio=mask_audio)
    processor = EchoProcessor.for_model(model.config, TOKENIZER)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    transcribe = pipeline("automatic-speech-recognition", model=str(tmp_path), device="cpu")
    assert transcribe.type == "seq2seq"
    heard = transcribe([clip(0), {"raw": clip(2, 9600), "sampling_rate": 16000}], num_beams=2)
    for item, samples in zip(heard, (clip(0), clip(2, 9600)), strict=True):
        tokens = model.eval().generate(**processor(samples), num_beams=2)
        assert item["text"] == processor.decode(tokens[0], skip_special_tokens=True)
