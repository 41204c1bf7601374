from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from echo_reference.errors import CheckpointError
from echo_reference.training import checkpoint
from echo_reference.training.settings import TrainSettings
from homeostat.sinks import read_run
from tests.echo_reference.runs import continue_run, finish, quiet_trainer, tiny_settings
from tests.echo_reference.training.same import assert_same, assert_same_end


def rewind(run: Path, folder: Path, step: int) -> Path:
    """A copy of a run that was killed after its last step, when its newest checkpoint was that of `step`."""
    shutil.copytree(run, folder)
    for later in checkpoint.found(folder):
        if int(later.name[-8:]) > step:
            shutil.rmtree(later)
    return folder


@pytest.mark.parametrize("step", [0, 6, 18])
def test_a_resumed_run_is_the_same_to_the_last_bit(whole_run: Path, tmp_path: Path, step: int) -> None:
    folder = rewind(whole_run, tmp_path / "resumed", step)
    torch.manual_seed(1234)  # what drew random numbers before must not matter
    trainer = continue_run(folder)
    assert trainer.step == step
    finish(trainer)
    assert_same_end(folder, whole_run)


def test_the_run_it_is_compared_with_moved_knobs_and_drew_random_numbers(whole_run: Path) -> None:
    run = read_run(whole_run)
    moved = {name for name, columns in run.loops.items() if len(set(columns["delivered.0"])) > 1}
    assert len(moved) >= 3, run.loops
    assert {"clip_norm", "rotation_penalty"} <= moved
    first, last = checkpoint.found(whole_run)[0], checkpoint.latest(whole_run)
    states = [checkpoint.load_training(folder)["random"]["torch"] for folder in (first, last)]
    assert not torch.equal(*states)
    assert "validation_wer" in run.metrics


def test_without_a_controller_too(corpus: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    finish(quiet_trainer(tiny_settings(corpus, whole, recipe="none", steps=8, checkpoint_every=4)))
    folder = rewind(whole, tmp_path / "resumed", 4)
    finish(continue_run(folder))
    states = [checkpoint.load_training(checkpoint.latest(run)) for run in (whole, folder)]
    for name in ("optimizer", "schedule", "random"):
        assert_same(states[0][name], states[1][name], name)


def test_checkpoints_change_nothing(corpus: Path, whole_run: Path, tmp_path: Path) -> None:
    settings = tiny_settings(corpus, tmp_path / "run", checkpoint_every=1000, augment=True)
    finish(quiet_trainer(settings))
    assert_same_end(tmp_path / "run", whole_run)


def test_a_run_keeps_the_settings_it_was_started_with(corpus: Path, tmp_path: Path) -> None:
    started = tiny_settings(corpus, tmp_path / "run", steps=2, learning_rate=1e-3)
    finish(quiet_trainer(started))
    trainer = continue_run(tmp_path / "run", steps=4)
    trainer.close()
    assert trainer.settings == started.model_copy(update={"resume": True, "steps": 4})
    written = yaml.safe_load((tmp_path / "run" / "settings.yaml").read_text(encoding="utf-8"))
    assert TrainSettings.model_validate(written) == started.model_copy(update={"steps": 4})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 8),
        ("seed", 1),
        ("learning_rate", 1e-4),
        ("data", "elsewhere"),
        ("tokens", "character"),
        ("model", {}),
        ("recipe", "none"),
    ],
)
def test_what_shaped_a_run_may_not_change(whole_run: Path, name: str, value: Any) -> None:
    with pytest.raises(
        CheckpointError, match=rf"A continued run must keep its {name}, .*; got .*Leave the setting out"
    ):
        continue_run(whole_run, **{name: value})


def test_saying_again_what_was_said_is_no_change(whole_run: Path) -> None:
    saved = checkpoint.load_training(checkpoint.latest(whole_run))["settings"]
    settings = TrainSettings(output=whole_run, resume=True, batch_size=4, seed=0, evaluate_every=7).continuing(saved)
    assert (settings.batch_size, settings.evaluate_every, settings.augment) == (4, 7, True)


def test_a_folder_holds_one_run(corpus: Path, whole_run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"must have a folder of its own; got .*--resume"):
        quiet_trainer(tiny_settings(corpus, whole_run))
    with pytest.raises(CheckpointError, match="got none in"):
        continue_run(tmp_path)


def test_settings_of_another_version_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"by the version that wrote it; got other settings \(optimiser\)"):
        TrainSettings(resume=True).continuing({"optimiser": "sgd"})
