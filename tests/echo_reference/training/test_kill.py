"""Runs in processes of their own, which are stopped and killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import signal
import time
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import yaml

from echo_reference.training import checkpoint
from homeostat.sinks import read_run
from tests.echo_reference.runs import command_in_child, continue_run, finish, tiny_settings
from tests.echo_reference.training.same import assert_same_end

PATIENCE = 60.0


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that need not import everything anew."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.echo_reference.runs"])
    return context


def start(processes: ForkServerContext, arguments: list[str], log: Path) -> BaseProcess:
    process = processes.Process(target=command_in_child, args=(["train", *arguments], log))
    process.start()
    return process


def end(process: BaseProcess) -> int:
    process.join(PATIENCE)
    assert process.exitcode is not None
    return process.exitcode


def wait_for_step(process: BaseProcess, folder: Path, step: int) -> None:
    """Wait until a checkpoint of `step` or later is there."""
    give_up = time.monotonic() + PATIENCE
    while not any(int(found.name[-8:]) >= step for found in checkpoint.found(folder)):
        assert process.is_alive()
        assert time.monotonic() < give_up
        time.sleep(0.005)


def write_settings(path: Path, corpus: Path, folder: Path, **changes: object) -> str:
    settings = tiny_settings(corpus, folder, **changes)
    path.write_text(yaml.safe_dump(settings.model_dump(mode="json", exclude_unset=True)), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_can_be_continued(
    processes: ForkServerContext, corpus: Path, tmp_path: Path, number: signal.Signals
) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    config = write_settings(tmp_path / "settings.yaml", corpus, folder, steps=100_000, checkpoint_every=2)
    process = start(processes, ["--config", config], log)
    wait_for_step(process, folder, 4)
    assert process.pid is not None
    os.kill(process.pid, number)
    assert end(process) == 130
    said = log.read_text(encoding="utf-8")
    stopped = int(re.findall(r"Stopped at step (\d+)", said)[0])
    assert f"Continue with: echo-reference train --resume --output {folder}" in said
    assert "Traceback" not in said
    assert int(checkpoint.latest(folder).name[-8:]) == stopped

    trainer = continue_run(folder, steps=stopped + 12)
    assert trainer.step == stopped
    assert finish(trainer).score is not None
    run = read_run(folder)
    assert run.ticks == stopped + 12
    for columns in (*run.loops.values(), *run.metrics.values()):
        ticks = columns["tick"].tolist()
        assert ticks == sorted(set(ticks))


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    processes: ForkServerContext, corpus: Path, whole_run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    config = write_settings(tmp_path / "settings.yaml", corpus, folder, augment=True, checkpoint_every=1)
    chance = random.Random(0)
    arguments = ["--config", config]
    for life in range(5):
        process = start(processes, arguments, tmp_path / "log")
        wait_for_step(process, folder, 3 * life)
        time.sleep(chance.uniform(0.0, 0.1))
        process.kill()
        assert end(process) in {-signal.SIGKILL, 0}, (tmp_path / "log").read_text(encoding="utf-8")
        arguments = ["--resume", "--output", str(folder)]
    finish(continue_run(folder))
    assert_same_end(folder, whole_run)
    assert not list(folder.glob(".*"))


def test_a_run_killed_before_its_first_checkpoint_may_start_again(
    processes: ForkServerContext, corpus: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    config = write_settings(tmp_path / "settings.yaml", corpus, folder, steps=2)
    process = start(processes, ["--config", config], tmp_path / "log")
    while process.is_alive() and not (folder / "trace.jsonl").exists():
        time.sleep(0.001)
    process.kill()
    end(process)
    resume = ["--resume", "--output", str(folder)] if checkpoint.found(folder) else ["--config", config]
    assert end(start(processes, resume, tmp_path / "log")) == 0, (tmp_path / "log").read_text(encoding="utf-8")
    assert read_run(folder).ticks == 2
