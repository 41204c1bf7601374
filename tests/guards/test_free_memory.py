"""Memory to spare: the machine's, or what a container leaves of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from homeostat.guards import free_memory as module
from homeostat.guards.free_memory import free_memory, processes_here

CPU = torch.device("cpu")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 1000 KiB to be had, 1024000 bytes, and no limit."""
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemFree:  10 kB\nMemAvailable:  1000 kB\n")
    monkeypatch.setattr(module, "_MACHINE", tmp_path / "meminfo")
    monkeypatch.setattr(module, "_CONTAINER", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("machine")
def test_what_is_available_counts_not_what_is_unused() -> None:
    assert free_memory(CPU) == 1024000


@pytest.mark.parametrize(("limit", "left"), [("max", 1024000), ("600000", 300000), ("9000000", 1024000), ("1000", 0)])
def test_a_container_may_leave_less(machine: Path, limit: str, left: int) -> None:
    (machine / "memory.max").write_text(f"{limit}\n")
    (machine / "memory.current").write_text("500000\n")
    (machine / "memory.stat").write_text("anon 300000\ninactive_file 200000\n")
    assert free_memory(CPU) == left


def test_where_nobody_can_tell_there_is_no_number(machine: Path) -> None:
    (machine / "meminfo").unlink()
    assert free_memory(CPU) is None
    assert free_memory(torch.device("mps")) is None


def test_what_torch_keeps_for_later_on_a_device_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, found in {"memory_reserved": 70, "memory_allocated": 50, "mem_get_info": (1000, 4000)}.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, found=found: found)
    assert free_memory(torch.device("cuda")) == 1020


@pytest.mark.parametrize(("told", "processes"), [(None, 64), ("8", 8)])
def test_processes_of_one_machine_share_its_memory(
    monkeypatch: pytest.MonkeyPatch, told: str | None, processes: int
) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if told is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", told)
    monkeypatch.setattr(module, "dist", SimpleNamespace(get_world_size=lambda _: 64))
    assert processes_here(object()) == processes
    assert processes_here(None) == 1
