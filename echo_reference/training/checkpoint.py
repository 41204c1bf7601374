"""Checkpoints that are whole or absent: written beside, then renamed."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from echo_reference.config import EchoConfig
from echo_reference.errors import CheckpointError
from echo_reference.model import Echo
from echo_reference.processing import EchoProcessor
from echo_reference.tokens import CtcSymbols, Tokenizer, tokenizer_from_dict
from echo_reference.training.evaluation import Reader
from homeostat.guards import random_state

_PREFIX = "checkpoint-"
_PARTIAL = ".partial"
STATE = "training.pt"
VOCABULARY = "vocabulary.json"
_VERSION = 1


def save(folder: Path, step: int, reader: Reader, training: dict[str, Any], keep: int) -> Path:
    """Write the checkpoint of `step` and drop all but the last `keep`.

    A checkpoint appears and disappears under its name by one rename, so a kill at any moment leaves only whole ones.
    One that is there already stays: a run is the same whenever it passes a step.

    Args:
        folder: of the run.
        step: optimizer steps done.
        reader: model and vocabulary.
        training: state of optimizer, schedule, controller, ...; saved with the random states.
        keep: checkpoints that stay.
    """
    target = folder / f"{_PREFIX}{step:08d}"
    if not target.is_dir():
        partial = _aside(target)
        partial.mkdir(parents=True)
        reader.model.save_pretrained(partial)
        EchoProcessor.for_model(reader.model.config, reader.tokenizer).save_pretrained(partial)
        vocabulary = {"tokenizer": reader.tokenizer.to_dict(), "symbols": reader.symbols.tokenizer.to_dict()}
        (partial / VOCABULARY).write_text(json.dumps(vocabulary), encoding="utf-8")
        state = {**training, "version": _VERSION, "step": step, "random": random_state()}
        torch.save(state, partial / STATE)
        partial.rename(target)
    for old in found(folder)[:-keep]:
        shutil.rmtree(old.rename(_aside(old)))
    return target


def clean(folder: Path) -> None:
    """Remove what a killed run has left half written or half removed."""
    for partial in folder.glob(f".{_PREFIX}*{_PARTIAL}"):
        shutil.rmtree(partial)


def latest(folder: Path) -> Path:
    """Return the newest checkpoint of a run, or `folder` itself if it is one.

    Raises:
        CheckpointError: there is none.
    """
    if (folder / STATE).is_file():
        return folder
    checkpoints = found(folder)
    if not checkpoints:
        raise CheckpointError(
            f"A run must hold a checkpoint; got none in {folder}. Train it first, or give the folder of a run."
        )
    return checkpoints[-1]


def load_reader(checkpoint: Path, device: torch.device) -> Reader:
    """Read model and vocabulary of a checkpoint.

    Raises:
        CheckpointError: a part of it is missing or damaged.
        ConfigError: the model is of a version that this code does not know.
    """
    try:
        vocabulary = json.loads((checkpoint / VOCABULARY).read_text(encoding="utf-8"))
        tokenizer: Tokenizer = tokenizer_from_dict(vocabulary["tokenizer"])
        symbols: Tokenizer = tokenizer_from_dict(vocabulary["symbols"])
        # Read here, since `from_pretrained` takes the default configuration where the file is missing.
        config = EchoConfig.from_dict(json.loads((checkpoint / "config.json").read_text(encoding="utf-8")))
        model = Echo.from_pretrained(checkpoint, config=config)
    except (OSError, KeyError, json.JSONDecodeError, SafetensorError) as error:
        raise _damaged(checkpoint, error) from error
    return Reader(model.to(device), tokenizer, CtcSymbols(symbols))


def load_training(checkpoint: Path) -> dict[str, Any]:
    """Read the state `save` was given.

    Raises:
        CheckpointError: it is damaged, or of another version.
    """
    try:
        state: dict[str, Any] = torch.load(checkpoint / STATE, weights_only=True, map_location="cpu")
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise _damaged(checkpoint, error) from error
    if state.get("version") != _VERSION:
        raise CheckpointError(
            f"A checkpoint must be of version {_VERSION}; got {state.get('version')} in {checkpoint}. "
            "Continue it with the release that wrote it."
        )
    return state


def _damaged(checkpoint: Path, error: Exception) -> CheckpointError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return CheckpointError(
        f"A checkpoint must be whole; got {checkpoint} ({reason}). Use an earlier one, or train anew."
    )


def _aside(checkpoint: Path) -> Path:
    """A free name beside a checkpoint, which is never taken for one."""
    partial = checkpoint.with_name(f".{checkpoint.name}{_PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    return partial


def seed(number: int) -> None:
    """Start every random generator in use."""
    torch.manual_seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002 - the global one is what other packages draw from
    random.seed(number)


def found(folder: Path) -> list[Path]:
    """Return the whole checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if (path / STATE).is_file())
