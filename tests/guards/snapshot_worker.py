"""A process that trains in children and kills them: `python snapshot_worker.py FOLDER`. It has imported torch once."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from homeostat import Homeostat, HomeostatWarning
from homeostat.guards.snapshot import SnapshotPolicy
from tests.guards.batches import Batches

TICKS = 48
PATIENCE = 60.0


def train(folder: Path) -> None:
    """Train to the end, from wherever an earlier life has come to; leaves what it ends with in `folder`."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 512), nn.BatchNorm1d(512), nn.Dropout(0.1), nn.Linear(512, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, TICKS)
    batches = Batches(16, 8)
    policy = SnapshotPolicy(every=2, probation=1, directory=folder / "snapshots", disk_every=2)
    homeostat = Homeostat.from_recipe("steady", horizon=TICKS, snapshots=policy)
    homeostat.attach(model, optimizer, restores=(schedule, batches))
    if homeostat.resume():
        schedule.step()
    while homeostat.tick < TICKS:
        loss = F.mse_loss(model(next(batches)), torch.ones(16, 2))
        homeostat.observe(loss=loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    end = [*model.state_dict().values(), *(v for s in optimizer.state.values() for v in s.values()), loss.detach()]
    end.append(torch.tensor([value for knobs in homeostat.knobs.values() for value in knobs]))
    homeostat.detach()
    torch.save(end, folder / "end.partial")
    (folder / "end.partial").rename(folder / "end.pt")


def live(folder: Path) -> int:
    """Start `train` in a child; returns its process id."""
    child = os.fork()
    if child:
        return child
    try:
        train(folder)
    # Whatever ends the child ends it here: it must not go on as its parent.
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def wait_for(folder: Path, pattern: str, known: set[str]) -> None:
    """Wait until the child has made another file like `pattern`, or the end."""
    give_up = time.monotonic() + PATIENCE
    while not {path.name for path in folder.glob(f"snapshots/{pattern}")} - known and not (folder / "end.pt").exists():
        assert time.monotonic() < give_up
        time.sleep(0.0005)


def main(folder: Path) -> None:
    """Train once as a whole, and once in many lives; print how many were cut short, and while a file was written."""
    chance = random.Random(0)
    whole, cut = folder / "whole", folder / "cut"
    whole.mkdir()
    cut.mkdir()
    # Here, so that the children find imported what the first step imports.
    train(whole)
    killed = writing = 0
    for life in range(6):
        known = {path.name for path in cut.glob("snapshots/*")}
        child = live(cut)
        # Every other one dies in the middle of a file.
        wait_for(cut, "*.pt" if life % 2 else ".*.partial", known)
        if life % 2:
            time.sleep(chance.uniform(0.0, 0.02))
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        writing += any(cut.glob("snapshots/.*.partial"))
    assert os.waitpid(live(cut), 0)[1] == 0
    ends = [torch.load(run / "end.pt", weights_only=True) for run in (whole, cut)]
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
    assert not list(cut.glob("snapshots/.*"))
    print(killed, writing)


if __name__ == "__main__":
    warnings.simplefilter("ignore", HomeostatWarning)
    main(Path(sys.argv[1]))
