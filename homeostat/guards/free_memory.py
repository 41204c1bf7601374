"""How much memory there is to spare."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import distributed as dist

_MACHINE = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that can still be had on a device, without waiting for it; None where nobody can tell.

    On the CPU it is what Linux calls available, or what the limit of the container leaves where that is less; on a CUDA
    device also what torch keeps for later.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    if device.type != "cpu" or not _MACHINE.exists():
        return None
    machine = _numbers(_MACHINE)["MemAvailable:"] * 1024
    limit = _CONTAINER / "memory.max"
    if not limit.exists() or limit.read_text().strip() == "max":
        return machine
    # The cache of files counts as used, and is given up where memory is asked for.
    cache = _numbers(_CONTAINER / "memory.stat")["inactive_file"]
    used = int((_CONTAINER / "memory.current").read_text()) - cache
    return min(machine, max(0, int(limit.read_text()) - used))


def processes_here(group: dist.ProcessGroup | None) -> int:
    """Return how many processes of the run share this machine's memory: all of them, unless their launcher says."""
    if group is None:
        return 1
    return int(os.environ.get("LOCAL_WORLD_SIZE", dist.get_world_size(group)))


def _numbers(file: Path) -> dict[str, int]:
    lines = (line.split() for line in file.read_text().splitlines())
    return {line[0]: int(line[1]) for line in lines}
