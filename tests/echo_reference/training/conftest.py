from __future__ import annotations

from pathlib import Path

import pytest

from tests.echo_reference.runs import finish, quiet_trainer, tiny_settings, write_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def whole_run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 24 steps in one go, with a checkpoint every 6; not to be written to."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    finish(quiet_trainer(tiny_settings(corpus, folder, checkpoint_every=6, keep_checkpoints=9, augment=True)))
    return folder
