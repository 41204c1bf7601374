from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from rich.console import Console
from torch import Tensor

from echo_reference.errors import ConfigError, DataError, DivergenceError
from echo_reference.training import checkpoint, trainer
from echo_reference.training.evaluation import quick_decoding
from homeostat.sinks import read_run
from tests.echo_reference.runs import TINY, finish, quiet_trainer, tiny_settings, tone, write_corpus

Spoil = Any


def nan_loss(loss: Tensor, weight: Tensor) -> Tensor:
    del weight
    return loss * torch.nan


def nan_gradient(loss: Tensor, weight: Tensor) -> Tensor:
    # The loss is what it was; the slope of the root is infinite at 0, and infinity times 0 is NaN.
    return loss + (weight * 0.0).abs().sqrt().sum()


def spoil_steps(monkeypatch: pytest.MonkeyPatch, steps: range, spoil: Spoil) -> None:
    calls = iter(range(10_000))
    plain = trainer.forward

    def spoiled(model: Any, batch: Any, device: Any) -> Any:
        output = plain(model, batch, device)
        if model.training and next(calls) in steps:
            output.loss = spoil(output.loss, model.proj_out.weight)
        return output

    monkeypatch.setattr(trainer, "forward", spoiled)


@pytest.mark.filterwarnings("ignore::homeostat.HomeostatWarning")
@pytest.mark.parametrize("spoil", [nan_loss, nan_gradient])
@pytest.mark.parametrize("recipe", ["echo", "none"])
def test_a_step_without_a_finite_gradient_changes_no_weight(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Spoil, recipe: str
) -> None:
    spoil_steps(monkeypatch, range(4, 6), spoil)
    said = io.StringIO()
    settings = tiny_settings(corpus, tmp_path / "run", recipe=recipe, steps=9, evaluate_every=4, checkpoint_every=1)
    run = trainer.Trainer(settings, Console(file=said))
    assert finish(run).step == 9
    assert said.getvalue().count("step 4: loss or gradient is not finite; its update is left out") == 1
    assert all(bool(torch.isfinite(p).all()) for p in run.model.parameters())
    # No checkpoint is taken while it is not known whether the run recovers.
    assert [int(c.name[-8:]) for c in checkpoint.found(tmp_path / "run")] == [4, 7, 8, 9]
    assert run.schedule.last_epoch == 7


@pytest.mark.filterwarnings("ignore::homeostat.HomeostatWarning")
def test_a_step_whose_loss_is_not_finite_is_not_taken(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_steps(monkeypatch, range(1), nan_loss)
    finish(quiet_trainer(tiny_settings(corpus, tmp_path / "run", steps=3)))
    assert [(i.tick, i.answer) for i in read_run(tmp_path / "run").interventions] == [(0, "skip")]


def test_a_diverged_run_stops_and_keeps_its_last_good_checkpoint(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_steps(monkeypatch, range(5, 1000), nan_loss)
    run = quiet_trainer(tiny_settings(corpus, tmp_path / "run", steps=100, checkpoint_every=3))
    with pytest.raises(DivergenceError, match=rf"got {trainer.PATIENCE} steps in a row up to step 14 without"):
        finish(run)
    latest = checkpoint.latest(tmp_path / "run")
    assert latest.name == "checkpoint-00000003"
    weights = checkpoint.load_reader(latest, torch.device("cpu")).model.parameters()
    assert all(bool(torch.isfinite(weight).all()) for weight in weights)


def test_evaluations_read_by_the_head_that_learns_first(corpus: Path, tmp_path: Path) -> None:
    settings = tiny_settings(corpus, tmp_path / "run", steps=2, evaluate_every=1, recipe="none")
    said = io.StringIO()
    run = trainer.Trainer(settings, Console(file=said, width=200))
    finish(run)
    assert quick_decoding(run.model) == "ctc"
    assert said.getvalue().count("% (ctc)") == 2

    headless = {"model": {**TINY, "ctc_vocab": 0}, "steps": 1, "recipe": "none"}
    other = quiet_trainer(tiny_settings(corpus, tmp_path / "other", **headless))
    assert quick_decoding(other.model) == other.settings.decoding == "greedy"
    assert finish(other).score is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tokens": "whisper", "decoding": "joint"},
            "Joint decoding must have a CTC alphabet that corresponds to the tokens",
        ),
        (
            {"model": {**TINY, "ctc_vocab": 0}, "decoding": "joint"},
            "Decoding joint must have a CTC head; got a model without one",
        ),
        ({"model": {"n_audio_layr": 1}}, "by the names of EchoConfig; got n_audio_layr"),
        (
            {"model": {**TINY, "n_audio_layer": "many"}},
            "n_audio_layer must be a whole number of at least 1; got 'many'",
        ),
        ({"model": {**TINY, "dropout": 2.0}}, r"dropout must lie in \[0, 1\); got 2.0"),
        ({"model": {**TINY, "base": -1.0}}, r"must be one that can be built; .*must start within"),
        ({"preset": "huge"}, "A preset must be one of .*; got 'huge'"),
    ],
)
def test_a_model_that_cannot_be_is_refused_before_training(
    corpus: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        quiet_trainer(tiny_settings(corpus, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "seconds", "message"),
    [
        ({}, 0.0, r"test-2\.wav"),
        ({"model": {**TINY, "n_audio_ctx": 10}}, 2.0, r"A clip must last at most 0\.8 s; got 2 s in .*test-2"),
    ],
)
def test_a_test_clip_that_cannot_be_judged_is_named_before_training(
    tmp_path: Path, changes: dict[str, Any], seconds: float, message: str
) -> None:
    folder = write_corpus(tmp_path / "corpus")
    soundfile.write(folder / "test-2.wav", tone("low", seconds), 8000)
    with pytest.raises(DataError, match=message):
        quiet_trainer(tiny_settings(folder, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_the_trace_goes_to_tensorboard_where_asked(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    finish(quiet_trainer(tiny_settings(corpus, tmp_path / "run", steps=2, tensorboard=True)))
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert b"clip_norm/reading" in events.read_bytes()


def test_a_run_ends_when_its_time_is_over(corpus: Path, tmp_path: Path) -> None:
    outcome = finish(quiet_trainer(tiny_settings(corpus, tmp_path / "run", steps=10_000, minutes=1e-3)))
    assert 0 < outcome.step < 10_000
    assert outcome.score is not None
