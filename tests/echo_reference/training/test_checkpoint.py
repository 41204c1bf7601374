from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from echo_reference.config import EchoConfig
from echo_reference.errors import CheckpointError, ConfigError
from echo_reference.model import Echo
from echo_reference.training import checkpoint
from echo_reference.training.evaluation import Reader
from homeostat.nn import dials
from tests.echo_reference.runs import finish, quiet_trainer, tiny_settings
from tests.echo_reference.small import audio, generic_echo

CPU = torch.device("cpu")


@pytest.fixture
def damaged(whole_run: Path, tmp_path: Path) -> Path:
    """A copy of a checkpoint, to be damaged."""
    return Path(shutil.copytree(checkpoint.latest(whole_run), tmp_path / "damaged"))


@pytest.fixture
def reader(whole_run: Path) -> Reader:
    return checkpoint.load_reader(checkpoint.latest(whole_run), CPU)


def test_only_the_last_ones_stay(reader: Reader, tmp_path: Path) -> None:
    for step in (3, 20, 100):
        checkpoint.save(tmp_path, step, reader, {}, keep=2)
    assert [path.name for path in checkpoint.found(tmp_path)] == ["checkpoint-00000020", "checkpoint-00000100"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-00000020", "checkpoint-00000100"]
    assert checkpoint.latest(tmp_path).name == "checkpoint-00000100"


def test_one_that_was_not_finished_is_none(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, 1, reader, {}, keep=2)

    def fail(_: Any, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise OSError("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(torch, "save", fail)
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(tmp_path, 2, reader, {}, keep=2)
    assert len(list(tmp_path.iterdir())) == 2
    assert checkpoint.latest(tmp_path).name == "checkpoint-00000001"
    checkpoint.clean(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_run_removes_what_a_killed_one_has_left(corpus: Path, tmp_path: Path) -> None:
    left = tmp_path / "run" / ".checkpoint-00000007.partial"
    left.mkdir(parents=True)
    (left / "training.pt").write_bytes(b"half of it")
    finish(quiet_trainer(tiny_settings(corpus, tmp_path / "run", steps=1)))
    assert not left.exists()


@pytest.mark.parametrize("name", ["training.pt", "model.safetensors", "vocabulary.json", "config.json"])
@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_damage_is_told(damaged: Path, name: str, harm: str) -> None:
    content = (damaged / name).read_bytes()
    (damaged / name).unlink()
    if harm == "cut":
        (damaged / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"A checkpoint must be whole; got .*damaged"):
        load(damaged)


def load(folder: Path) -> None:
    checkpoint.load_training(folder)
    checkpoint.load_reader(folder, CPU)


def test_another_version_is_refused(damaged: Path) -> None:
    state = checkpoint.load_training(damaged)
    torch.save({**state, "version": 99}, damaged / "training.pt")
    with pytest.raises(CheckpointError, match=r"must be of version 1; got 99"):
        checkpoint.load_training(damaged)
    config = damaged / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"config_version": 1', '"config_version": 99'))
    with pytest.raises(ConfigError, match=r"config_version must be 1; got 99"):
        checkpoint.load_reader(damaged, CPU)


def move_every_dial(model: nn.Module) -> None:
    moved = {
        "dials.rotary_base": 1234.5,
        "dials.attention_window": 1.75,
        "dials.rotation_penalty": 0.3,
        "dials.embedding_width": 20.25,
        "dials.ctc_weight": 0.7,
        "dials.dropout.rate": 0.2,
    }
    assert moved.keys() == dials(model).keys()
    for name, dial in dials(model).items():
        dial.set(moved[name])


def test_a_loaded_model_computes_what_the_saved_one_did(tmp_path: Path) -> None:
    model = generic_echo()
    tokens = torch.tensor([[1, 5, 6], [1, 7, 8]])
    before = model.eval()(audio(), decoder_input_ids=tokens)
    move_every_dial(model)
    moved = model(audio(), decoder_input_ids=tokens, labels=tokens, ctc_targets=tokens[:, 1:] - 2)
    model.save_pretrained(tmp_path)
    loaded = Echo.from_pretrained(tmp_path).eval()
    again = loaded(audio(), decoder_input_ids=tokens, labels=tokens, ctc_targets=tokens[:, 1:] - 2)
    assert {name: dial.peek() for name, dial in dials(loaded).items()} == {
        name: dial.peek() for name, dial in dials(model).items()
    }
    for name in ("logits", "ctc_logits", "loss"):
        assert torch.equal(moved[name], again[name])
    assert not torch.allclose(before.logits, moved.logits)
    assert not torch.allclose(before.ctc_logits, moved.ctc_logits)


def test_a_trained_run_is_judged_with_its_dials_where_training_left_them(whole_run: Path, reader: Reader) -> None:
    state = checkpoint.load_training(checkpoint.latest(whole_run))["homeostat"]["loops"]
    places = reader.model.dials.settings()
    assert places["rotation_penalty"] == state["rotation_penalty"]["delivered"][0] != EchoConfig().rotation_penalty
    assert places["base"] == state["rotary_base"]["delivered"][0]
    assert places["attention_window"] == state["attention_window"]["delivered"][0]
    assert places["dropout"] == state["dropout"]["delivered"][0]
