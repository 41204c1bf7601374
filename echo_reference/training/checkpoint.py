"""Checkpoints that are whole or absent: written beside, then renamed."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from echo_reference.errors import CheckpointError
from echo_reference.model import Echo
from echo_reference.tokens import CtcSymbols, Tokenizer, tokenizer_from_dict
from echo_reference.training.evaluation import Reader

_PREFIX = "checkpoint-"


def save(folder: Path, step: int, reader: Reader, training: dict[str, Any], keep: int) -> Path:
    """Write the checkpoint of `step` and drop all but the last `keep`.

    A checkpoint appears under its name by one rename, so a kill at any moment leaves only whole ones.

    Args:
        folder: of the run.
        step: optimizer steps done.
        reader: model and vocabulary.
        training: state of optimizer, schedule, controller, ...; saved with the random states.
        keep: checkpoints that stay.
    """
    target = folder / f"{_PREFIX}{step:08d}"
    partial = folder / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    reader.model.save_pretrained(partial)
    vocabulary = {"tokenizer": reader.tokenizer.to_dict(), "symbols": reader.symbols.tokenizer.to_dict()}
    (partial / "tokenizer.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    torch.save({**training, "step": step, "random": random_state()}, partial / "training.pt")
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    for old in _found(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def latest(folder: Path) -> Path:
    """Return the newest checkpoint of a run, or `folder` itself if it is one.

    Raises:
        CheckpointError: there is none.
    """
    if (folder / "training.pt").is_file():
        return folder
    found = _found(folder)
    if not found:
        raise CheckpointError(
            f"A run must hold a checkpoint; got none in {folder}. Train it first, or give the folder of a run."
        )
    return found[-1]


def load_reader(checkpoint: Path, device: torch.device) -> Reader:
    """Read model and vocabulary of a checkpoint."""
    vocabulary = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))
    model = Echo.from_pretrained(checkpoint)
    symbols: Tokenizer = tokenizer_from_dict(vocabulary["symbols"])
    return Reader(model.to(device), tokenizer_from_dict(vocabulary["tokenizer"]), CtcSymbols(symbols))


def load_training(checkpoint: Path) -> dict[str, Any]:
    """Read the state `save` was given."""
    state: dict[str, Any] = torch.load(checkpoint / "training.pt", weights_only=True, map_location="cpu")
    return state


def random_state() -> dict[str, Any]:
    """Return the states of every random generator in use, in types that load safely."""
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - the state to be saved is the global one
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": [version, list(internal), gauss],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Continue every random generator from `random_state`."""
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002 - as above
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))


def _found(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if (path / "training.pt").is_file())
