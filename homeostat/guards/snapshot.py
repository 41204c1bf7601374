"""Snapshots: what a run was a while ago, in memory and on disk, to go back to when it is damaged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Generator
from torch import distributed as dist

from homeostat.errors import AttachError, HomeostatError
from homeostat.guards.free_memory import free_memory, processes_here
from homeostat.guards.snapshot_content import Content, Stateful
from homeostat.guards.snapshot_damage import Damage
from homeostat.guards.snapshot_files import SnapshotFiles
from homeostat.guards.tensor_copies import Copier, Copies, Room, space_for
from homeostat.part import Part
from homeostat.plant import Plant


class SnapshotPolicy(Part):
    """How often a run is remembered, how many of these memories stay, and when one is believed to be good.

    Args:
        every: ticks between two snapshots.
        keep: snapshots in memory; three are one under probation and two to go back to.
        probation: ticks without a finding after which a snapshot is trusted; at most `every`, so that there is always
            one that is.
        max_bytes: most memory of all of them together; fewer are kept where `keep` do not fit, and none where two do
            not. "auto" is half of what is free when the first one is taken, as each process's share of it; on the way
            from an accelerator to the host one copy more must find room on the device. None for no limit.
        memory: "host" or "device"; on the host they cost the device one copy more, and no time.
        directory: where trusted ones are written too, to survive the process; None for nowhere. Those of an earlier run
            that was not resumed are moved to a folder in it, `earlier-1` and so on.
        disk_every: ticks between two that are written.
        disk_keep: files that stay.
    """

    every: int = Field(default=100, ge=1)
    keep: int = Field(default=3, ge=2)
    probation: int = Field(default=25, ge=0)
    max_bytes: Annotated[int, Field(ge=1)] | Literal["auto"] | None = "auto"
    memory: Literal["host", "device"] = "host"
    directory: Path | None = None
    disk_every: int = Field(default=1000, ge=1)
    disk_keep: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _probation_ends_in_time(self) -> SnapshotPolicy:
        if self.probation > self.every:
            msg = (
                f"SnapshotPolicy.probation must be at most every, or none is ever trusted; got {self.probation} for "
                f"{self.every}. Take them less often, or trust them sooner."
            )
            raise ValueError(msg)
        return self


class Restored(NamedTuple):
    """Where a run went back to.

    Attributes:
        tick: of the snapshot.
        extra: what the controller had said of itself then.
        replayed: whether the data went back too, so that the steps since are taken again.
        told: what somebody should know of it.
    """

    tick: int
    extra: Mapping[str, Any]
    replayed: bool = True
    told: str = ""


class _Snapshot(NamedTuple):
    tick: int
    skeleton: Mapping[str, Any]
    copies: Copies
    damage: Damage


class Snapshots:
    """The snapshots of one run.

    `take` one after an optimizer step when it is `due`, `confirm` while all is well, `doubt` when it is not, and
    `restore` to go back: what the user does after the step (a schedule, a scaler) then follows as it did. The first
    snapshot is trusted at once, since there is none before it; the others after their probation, if all that they hold
    is finite. Going back puts values into the tensors that are there, so that views, tied weights and compiled graphs
    stay right.

    With several ranks each keeps its own part (of sharded tensors, its shard), and all keep as many. All must call
    alike. What one of them finds not finite none trusts. Two numbers a snapshot are joined over the ranks.

    Args:
        policy: how often, how many, and where.
        plant: the run.
        restores: what goes back with it: schedulers, scalers, loaders, averaged weights, generators.
        group: the ranks that go back together, None for one process.

    Raises:
        AttachError: not even two snapshots fit `max_bytes`, or something of `restores` cannot be restored.
    """

    def __init__(
        self,
        policy: SnapshotPolicy,
        plant: Plant,
        restores: Sequence[Stateful | Generator] = (),
        *,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        self.policy = policy
        self._plant = plant
        self._content = Content(plant, restores)
        self._group = group
        self._copier = Copier(plant.device, on_device=policy.memory == "device")
        self._pending: _Snapshot | None = None
        self._trusted: list[_Snapshot] = []
        # Memory of a snapshot that was dropped, for the next.
        self._spare: Room | None = None
        # The tick of the newest file of this course of the run; below 0 where the next is to be written at once.
        self._written = 0
        # The most memory for all, once it is settled.
        self._most = math.inf if policy.max_bytes is None else policy.max_bytes
        self._told = self._without = False
        self._files = self._open_files()
        one = space_for(self._content.taken().tensors)
        if self._most != "auto" and self._room(one) < 2:
            raise AttachError(f"{self._misfit(one)} {self._remedy(one)}")

    @property
    def replays(self) -> bool:
        """Whether the data go back too, and with them schedules and random generators; else what makes the weights."""
        return self._content.data.replays

    @property
    def ticks(self) -> tuple[int, ...]:
        """The ticks that one can go back to, oldest first."""
        return tuple(snapshot.tick for snapshot in self._trusted)

    @property
    def imagined(self) -> int:
        """How many there would be to go back to now, had they all been taken and nothing been found: for advice."""
        tick, policy = self._plant.tick, self.policy
        return min(tick, policy.keep, 1 + max(0, tick - policy.probation) // policy.every)

    @property
    def nbytes(self) -> int:
        """Memory that the snapshots take."""
        rooms = [snapshot.copies.room for snapshot in (*self._trusted, *filter(None, [self._pending]))]
        return sum(room.nbytes for room in (*rooms, *filter(None, [self._spare])))

    def due(self) -> bool:
        """Whether it is time for a snapshot: after the first step, and at each multiple of `policy.every`."""
        if self._without:
            return False
        newest = self._pending or (self._trusted[-1] if self._trusted else None)
        return newest is None or (self._plant.tick % self.policy.every == 0 and self._plant.tick != newest.tick)

    def take(self, extra: Mapping[str, Any]) -> str:
        """Remember the run as it is now, in the place of the oldest snapshot; says once why fewer are kept, or none.

        Args:
            extra: the controller's own state, plain data, which `restore` hands back.
        """
        self.confirm()
        self.doubt()
        skeleton, tensors, unwatched = self._content.taken()
        one = space_for(tensors)
        room = self._agreed(self._room(one))
        told = self._tell(room, one)
        if room < 2:
            self._trusted, self._spare, self._without = [], None, True
            return told
        memory, self._spare = self._spare, None
        while len(self._trusted) >= room:
            memory = self._trusted.pop(0).copies.room
        if self._files is not None:
            self._files.release(memory)
        copies = self._copier.copy(tensors, unwatched, memory)
        damage = Damage(copies.watched, self._plant.device, self._group)
        self._pending = _Snapshot(self._plant.tick, {**skeleton, "extra": dict(extra)}, copies, damage)
        if not self._trusted:
            self._trust(self._pending)
        return told

    def confirm(self) -> None:
        """Say that nothing was found up to now: the newest snapshot is trusted if its probation is over."""
        if self._pending is not None and self._plant.tick >= self._pending.tick + self.policy.probation:
            self._trust(self._pending)

    def doubt(self) -> None:
        """Say that a fault was found: a snapshot under probation may hold it, and is dropped."""
        if self._pending is not None:
            self._spare = self._pending.copies.room
            self._pending = None

    def damaged(self) -> bool:
        """Whether something that must be finite is not, on this rank; waits for the device."""
        return Damage(self._content.taken().watched, self._plant.device, None).found()

    def restore(self, back: int = 0, *, replay: bool = True) -> Restored:
        """Make the run what it was at the newest trusted snapshot, and drop those after it.

        Args:
            back: how many snapshots further back, as far as there are any.
            replay: let the data go back too, where they can.

        Raises:
            HomeostatError: there is none.
        """
        self.doubt()
        kept = len(self._trusted)
        if kept == 0:
            msg = "A run must have a trusted snapshot to go back to; got none. Take one first, within max_bytes."
            raise HomeostatError(msg)
        del self._trusted[kept - min(back, kept - 1) :]
        snapshot = self._trusted[-1]
        if snapshot.copies.made is not None:
            torch.cuda.current_stream(self._plant.device).wait_event(snapshot.copies.made)
        held = snapshot.skeleton, snapshot.copies.tensors
        told = self._content.rewind(*held, self._agreed) if replay and self.replays else ""
        replay = replay and self.replays
        self._content.put_back(*held, replay=replay, rewound=True)
        if self._files is not None and self._written > snapshot.tick:
            self._files.drop_after(snapshot.tick)
            self._written = snapshot.tick
        return Restored(snapshot.tick, deepcopy(snapshot.skeleton["extra"]), replay, told)

    def replaying(self) -> None:
        """After each of the steps that are to be taken again: see what the loaders do."""
        self._content.data.look()

    def replayed(self) -> str:
        """After the steps that were to be taken again: say whether a loader had not gone back after all."""
        return self._content.data.moves(self._agreed)

    def resume(self, check: Callable[[Mapping[str, Any]], object] = lambda _: None) -> Restored | None:
        """Make the run what it was at the newest whole snapshot on disk, all of it; None where there is none.

        Args:
            check: refuses the controller's own state, by raising, before anything is changed.

        Raises:
            StateError: the snapshot is of another model, of other optimizers, or of another number of ranks; nothing is
                changed then.
        """
        if self._files is None:
            msg = "A run must write snapshots to resume from one; got no directory. Give SnapshotPolicy a directory."
            raise HomeostatError(msg)
        found = self._files.newest(self._group)
        if found is None:
            return None
        check(found.skeleton["extra"])
        self._content.put_back(found.skeleton, found.tensors, replay=True)
        self._written, self._files.own = found.tick, True
        return Restored(found.tick, found.skeleton["extra"])

    def leave(self, tick: int, *, resumed: bool = False) -> None:
        """Forget the course of the run so far: it goes on at `tick`, from a state that was loaded from elsewhere.

        What was written of it from that tick on is removed, and the first snapshot of the new course is written; not
        where it was `resumed`, so that the newest file holds what it goes on from.
        """
        self.doubt()
        self._trusted.clear()
        if self._files is not None and (self._written or tick) and not resumed:
            if self._written >= tick:
                self._files.drop_after(tick - 1)
            self._written = -1

    def close(self) -> None:
        """Wait until the disk has what it was given."""
        if self._files is not None:
            self._files.wait()

    def _trust(self, snapshot: _Snapshot) -> None:
        if snapshot.damage.found():
            self.doubt()
            return
        self._pending = None
        self._trusted.append(snapshot)
        every = self.policy.disk_every
        due = snapshot.tick // every > self._written // every
        if due and self._files is not None and self._files.claim(self._agreed):
            self._written = snapshot.tick
            self._files.write(snapshot.tick, snapshot.skeleton, snapshot.copies)

    def _agreed(self, count: int) -> int:
        """Return the least of the ranks' counts: shards of unlike size may leave room for unlike numbers."""
        if self._group is None:
            return count
        least = torch.tensor(float(count), device=self._plant.device)
        dist.all_reduce(least, dist.ReduceOp.MIN, self._group)
        return int(least.item())

    def _room(self, one: int) -> int:
        """Return how many snapshots of `one` bytes may be kept."""
        if self._most == "auto":
            self._most = self._affordable(one)
        return int(min(self.policy.keep, self._most / max(1, one)))

    def _affordable(self, one: int) -> float:
        """Return the most memory that may be taken for all of them: half of what is free now."""
        device = self._plant.device
        home = device if self.policy.memory == "device" else torch.device("cpu")
        free = free_memory(home)
        most = math.inf if free is None else free / 2
        if home.type == "cpu":
            most /= processes_here(self._group)
        passing = None if home.type == device.type else free_memory(device)
        return most if passing is None or one <= passing / 2 else 0.0

    def _tell(self, room: int, one: int) -> str:
        """Say, the first time, that fewer than `keep` are kept."""
        if room == self.policy.keep or self._told:
            return ""
        self._told = True
        misfit = self._misfit(one)
        if self._room(one) == self.policy.keep:
            misfit = f"{self.policy.keep} snapshots must fit on every rank; got room for {room} on one of them."
        done = f"Only {room} are kept." if room >= 2 else "None is taken, so that no guard can take the run back."
        return f"{misfit} {done} {self._remedy(one)}"

    def _misfit(self, one: int) -> str:
        bound = "max_bytes" if self.policy.max_bytes != "auto" else "half of the free memory"
        return (
            f"{self.policy.keep} snapshots must fit into {bound}; got {one} bytes for one of them, with the "
            f"optimizer's state so far, and {self._most:.0f}."
        )

    def _remedy(self, one: int) -> str:
        return (
            f"Two at least are needed, {2 * one} bytes; set SnapshotPolicy.max_bytes to {self.policy.keep * one}, or "
            "keep fewer."
        )

    def _open_files(self) -> SnapshotFiles | None:
        if self.policy.directory is None:
            return None
        ranks = (0, 1) if self._group is None else (dist.get_rank(self._group), dist.get_world_size(self._group))
        self._content.refuse_unloadable()
        return SnapshotFiles(self.policy.directory, keep=self.policy.disk_keep, rank=ranks[0], ranks=ranks[1])
