from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from echo_reference.data.corpora import load_corpus
from echo_reference.errors import CheckpointError, ConfigError
from echo_reference.model import Echo
from echo_reference.training import checkpoint
from echo_reference.training.start import trained_reader, warm_reader
from tests.echo_reference.runs import finish, quiet_trainer, tiny_settings
from tests.echo_reference.test_warm_start import Size, difference, whisper

SIZE = Size(32, 2, 1, 1, mels=16, vocabulary=51865, positions=50)
SPECIAL = {"pad_token_id": 50257, "bos_token_id": 50257, "eos_token_id": 50257, "decoder_start_token_id": 50258}
needs_whisper = pytest.mark.skipif(
    importlib.util.find_spec("whisper") is None, reason="openai-whisper's files are not installed"
)


@needs_whisper
def test_a_whisper_is_gone_on_from(corpus: Path, tmp_path: Path) -> None:
    source = whisper(SIZE, **SPECIAL)
    source.save_pretrained(tmp_path / "whisper")
    settings = tiny_settings(
        corpus, tmp_path / "run", start=str(tmp_path / "whisper"), model={}, language="de", augment=True
    )
    begun = warm_reader(settings, load_corpus(str(corpus)))
    assert difference(source, begun.model, SIZE) < 2e-5
    assert begun.model.config.ctc_vocab == begun.symbols.size
    # Whisper hears every clip as long as its window, and so does this one, in training too.
    trainer = quiet_trainer(settings.model_copy(update={"steps": 2, "recipe": "none"}))
    assert trainer.material.train(0).features.shape[2] == 100
    assert trainer.settings.decoding == "greedy"
    assert trainer.material.train(0).labels[0, :3].tolist() == [50261, 50359, 50363]
    finish(trainer)
    last = checkpoint.latest(tmp_path / "run")
    again = checkpoint.load_reader(last, torch.device("cpu"))
    assert again.model.generation_config.language == "de"
    assert difference(source, again.model, SIZE) > 1e-4
    assert AutoTokenizer.from_pretrained(last).decode([50258]) == "<|startoftranscript|>"


@needs_whisper
def test_a_saved_echo_is_read_in_its_language(tmp_path: Path) -> None:
    echo = Echo.from_whisper(whisper(SIZE, **SPECIAL))
    echo.generation_config.language, echo.generation_config.task = "de", "translate"
    echo.save_pretrained(tmp_path)
    assert trained_reader(tmp_path)[0].tokenizer.prompt_ids == (50258, 50261, 50358, 50363)


def test_a_run_is_gone_on_from_with_its_own_vocabulary(corpus: Path, tmp_path: Path) -> None:
    first = quiet_trainer(tiny_settings(corpus, tmp_path / "first", steps=3, recipe="none"))
    finish(first)
    settings = tiny_settings(corpus, tmp_path / "second", start=str(tmp_path / "first"), model={}, steps=1)
    second = quiet_trainer(settings)
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name
    assert second.reader.tokenizer.to_dict() == first.reader.tokenizer.to_dict()
    assert second.step == 0
    second.close()
    with pytest.raises(ConfigError, match="must stay as it is; got"):
        warm_reader(settings.model_copy(update={"model": {"dropout": 0.1}}), load_corpus(str(corpus)))


def test_nothing_to_start_from_is_said(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"A model must be a run or a Whisper; got .*nowhere"):
        quiet_trainer(tiny_settings(corpus, tmp_path / "run", start=str(tmp_path / "nowhere"), model={}))
