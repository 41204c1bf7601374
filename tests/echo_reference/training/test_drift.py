"""How far rotations drift from orthogonal in a training; `benchmarks/echo_speed/drift.py` measures it at length."""

from __future__ import annotations

from pathlib import Path

import torch

from echo_reference.modules.rotation import Rotation, compose
from homeostat import Homeostat, Loop
from homeostat.actuators import RotationRetraction
from homeostat.laws import Hold
from homeostat.observers import Loss
from tests.echo_reference.runs import TINY, finish, quiet_trainer, tiny_settings

STEPS = 20


@torch.no_grad()
def drift(model: torch.nn.Module) -> float:
    """Norm of R^T R - I, the worst of all rotations."""
    worst = 0.0
    for rotation in (module for module in model.modules() if isinstance(module, Rotation)):
        matrix = (compose([rotation])[0] if rotation.exact else rotation.matrix).double()
        worst = max(worst, (matrix.mT @ matrix - torch.eye(matrix.shape[-1])).norm().item())
    return worst


def drifts(corpus: Path, output: Path, rotation: str, strength: float | None) -> list[float]:
    """The drift after each step of a training of the reference, with its schedule at 1e-3."""
    model = {**TINY, "n_audio_state": 64, "n_text_state": 64, "rotation": rotation}
    learning = {"learning_rate": 1e-3, "warmup": 10, "evaluate_every": STEPS, "checkpoint_every": STEPS}
    trainer = quiet_trainer(tiny_settings(corpus, output, model=model, steps=STEPS, recipe="none", **learning))
    if strength is not None:
        retraction = RotationRetraction(parameters="*.rotation.matrix", start=strength)
        trainer.homeostat = Homeostat([Loop(Loss(), Hold(), retraction)]).attach(trainer.model, trainer.optimizer)
    found: list[float] = []
    trainer.optimizer.register_step_post_hook(lambda *_: found.append(drift(trainer.model)))
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters() if ".rotation." in name}
    finish(trainer)
    moved = [(weight - before[name]).abs().max() for name, weight in trainer.model.named_parameters() if name in before]
    assert min(moved) > 3e-4  # what did not learn cannot drift
    assert len(found) == STEPS
    return found


def test_retraction_keeps_rotations_orthogonal_through_a_training(corpus: Path, tmp_path: Path) -> None:
    assert max(drifts(corpus, tmp_path / "retracted", "free", 1.0)) < 1e-3
    # The penalty, which both have, does not.
    assert max(drifts(corpus, tmp_path / "penalty", "free", None)) > 5e-3


def test_the_exact_mode_needs_no_retraction(corpus: Path, tmp_path: Path) -> None:
    found = drifts(corpus, tmp_path / "exact", "exact", None)
    assert max(found) < 1e-4
