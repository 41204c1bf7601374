"""`torchrun` for `test_elastic`: a run that saves every step; one rank is killed in its first life.

`python elastic.py FOLDER COUNT ...` does it once for each number of ranks. What `torchrun` starts are copies of a
process that has imported everything, which takes seconds.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # DDP imports it, which takes seconds in every rank
from torch import distributed as dist
from torch.distributed import run
from torch.distributed.launcher.api import elastic_launch
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW

from homeostat import Homeostat
from tests.system.small_net import Net, loops

STEPS = 10
KILLED_AT = 6


def train(folder: Path, life: int, killed_at: int | None = None) -> dict[str, Any]:
    """Train to the end, from the checkpoint if this is a later life."""
    rank = dist.get_rank()
    torch.manual_seed(0)
    # In DDP's buckets a tensor has another place after the first step of a process, and gloo adds the numbers of more
    # than two ranks in an order that depends on the place: gradients then differ in their last bit after a restart.
    model = DistributedDataParallel(Net()) if dist.get_world_size() == 2 else Net()
    optimizer = AdamW(model.parameters(), lr=0.05)
    homeostat = Homeostat(loops()).attach(model, optimizer)
    # What a rank has measured by itself is in its own file.
    file = folder / f"{rank}.pt"
    if life:
        saved = torch.load(file, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        homeostat.load_state_dict(saved["homeostat"])
    while homeostat.tick < STEPS:
        generator = torch.Generator().manual_seed(1000 * rank + homeostat.tick)
        x = torch.randn(16, 8, generator=generator)
        loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        homeostat.observe(loss=loss)
        optimizer.zero_grad()
        loss.backward()
        if not isinstance(model, DistributedDataParallel):
            for parameter in model.parameters():
                dist.all_reduce(parameter.grad)
                parameter.grad /= dist.get_world_size()
        if homeostat.tick == killed_at and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        optimizer.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "homeostat": homeostat.state_dict()}
        torch.save(state, file.with_suffix(".new"))
        # All ranks have written before the first replaces its old file.
        dist.barrier()
        file.with_suffix(".new").replace(file)
    ticks = homeostat.trace.loop("learning_rate")["tick"]
    state, weights = homeostat.state_dict(), [p.detach().flatten().tolist() for p in model.parameters()]
    homeostat.detach()
    return {"first": ticks[0], "state": state, "weights": weights}


def rank(folder: Path) -> None:
    """Be a rank in one of its lives."""
    dist.init_process_group("gloo")
    life = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    seen = {"life": life, "restarted": train(folder, life, None if life else KILLED_AT), "whole": train(folder, 0)}
    (folder / f"{dist.get_rank()}.json").write_text(json.dumps(seen))
    dist.destroy_process_group()


def main(folder: Path, count: int) -> None:
    """Do what `torchrun` does with its command line, but have the ranks started as copies."""
    folder.mkdir()
    command = ["--nproc-per-node", str(count), "--max-restarts", "1", "--monitor-interval", "0.1"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "--start-method", "forkserver", __file__]
    config, _, _ = run.config_from_args(run.parse_args(command))
    elastic_launch(config, rank)(folder)


if __name__ == "__main__":
    multiprocessing.set_forkserver_preload(["tests.system.elastic"])
    for number in sys.argv[2:]:
        main(Path(sys.argv[1]) / number, int(number))
