from __future__ import annotations

from pathlib import Path

import pytest

from tests.echo_reference.runs import finish, quiet_trainer, tiny_settings, write_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned to tell the tones apart; not to be written to."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    learning = {"steps": 80, "learning_rate": 1e-2, "evaluate_every": 80, "checkpoint_every": 80, "recipe": "none"}
    finish(quiet_trainer(tiny_settings(corpus, folder, decoding="ctc", **learning)))
    return folder
