"""Snapshots on disk: whole or absent, written in the background, the newest whole one found."""

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from homeostat.errors import HomeostatWarning, StateError
from homeostat.guards.tensor_copies import Copies, Room
from homeostat.guards.tensor_tree import Stored

_FORMAT = "homeostat snapshot 1"


class Loaded(NamedTuple):
    """What a file holds: the run's tick, and its tree taken apart."""

    tick: int
    skeleton: dict[str, Any]
    tensors: list[Tensor]


class SnapshotFiles:
    """The snapshots of one rank in a folder.

    A file appears under its name by one rename after the disk has it, so that a kill at any moment leaves only whole
    ones. It is written by a thread, from copies that nobody changes meanwhile.

    Args:
        directory: the folder; made with the first file.
        keep: files that stay.
        rank: whose.
        ranks: of how many.

    Attributes:
        own: whether what is there is of this run, which has begun to write or was resumed from there.
    """

    def __init__(self, directory: Path, *, keep: int, rank: int = 0, ranks: int = 1) -> None:
        self._directory = directory
        self._keep = keep
        self._rank, self._ranks = rank, ranks
        self._thread: Thread | None = None
        self._source: Room | None = None
        self._failure: Exception | None = None
        self.own = False

    def claim(self, agreed: Callable[[int], int]) -> bool:
        """Whether the folder is this run's; before the first file, all ranks put aside what another has left there.

        Args:
            agreed: the least of the ranks' numbers.
        """
        if not self.own:
            number = 1
            # One folder for all of them, in which no rank has anything of a third run.
            while (free := -agreed(-self._free(number))) > number:
                number = free
            self.own = bool(agreed(int(self._set_aside(number))))
        return self.own

    def _free(self, number: int) -> int:
        """Return the first number from this one on whose folder holds nothing."""
        while any((self._directory / f"earlier-{number}").glob("*")):
            number += 1
        return number

    def _set_aside(self, number: int) -> bool:
        """Move what another run has left into the folder of this number; False where the disk refuses.

        Files of ranks that do not exist now are moved by one of those that do.
        """
        names = [found.string for found in self._names() if int(found[2]) % self._ranks == self._rank]
        if not names:
            return True
        aside = self._directory / f"earlier-{number}"
        try:
            aside.mkdir(exist_ok=True)
            for name in names:
                (self._directory / name).rename(aside / name)
        except OSError as error:
            self._failure = error
            self.wait()
            return False
        warnings.warn(
            f"A folder of snapshots must be of one run; got {len(names)} of an earlier one in {self._directory} and "
            f"no resume(). They are now in {aside}. Delete them, or move them back and call resume() after attach.",
            HomeostatWarning,
            stacklevel=3,
        )
        return True

    def write(self, tick: int, skeleton: Mapping[str, Any], copies: Copies) -> None:
        """Begin to write; waits for the file before it, if the disk is that slow."""
        self.wait()
        # Not a daemon: a run that ends by itself leaves its last snapshot whole.
        self._source = copies.room
        self._thread = Thread(target=self._write, args=(tick, skeleton, copies), name="homeostat snapshot")
        self._thread.start()

    def release(self, memory: Room | None) -> None:
        """Wait until `memory` is not being written from, so that it may be filled again."""
        if memory is not None and memory is self._source:
            self.wait()

    def wait(self) -> None:
        """Wait until nothing is being written; a disk that refused costs a warning, not the run."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        failure, self._failure = self._failure, None
        if failure is not None:
            warnings.warn(
                f"Snapshots must be writable; got {failure}. The last one is in memory only: make room in "
                f"{self._directory}.",
                HomeostatWarning,
                stacklevel=3,
            )

    def drop_after(self, tick: int) -> None:
        """Remove what is newer than `tick`: the run has gone back, since it is no longer believed to be good."""
        self.wait()
        self._drop(tick)

    def newest(self, group: dist.ProcessGroup | None = None) -> Loaded | None:
        """Return what the newest file holds that is whole on every rank of `group`; None where there is none.

        One that is torn or foreign is skipped with a warning.

        Raises:
            StateError: there are snapshots, but of another number of ranks.
        """
        if group is None:
            return next(self._whole(), None)
        found = {loaded.tick for loaded in self._whole()}
        everywhere: list[set[int]] = [set()] * self._ranks
        dist.all_gather_object(everywhere, found, group=group)
        common = set.intersection(*everywhere)
        return _read(self._named()[max(common)]) if common else None

    def _whole(self) -> Iterator[Loaded]:
        """Yield what the whole files hold, newest first."""
        self.wait()
        named = self._named()
        others = {int(found[3]) for found in self._names()} - {self._ranks}
        if others and not named:
            msg = (
                f"A run must go on with as many ranks as its snapshots have; got {self._ranks} for {sorted(others)} in "
                f"{self._directory}. Start as many, or go on from a checkpoint of torch.distributed.checkpoint."
            )
            raise StateError(msg)
        for tick in sorted(named, reverse=True):
            try:
                yield _read(named[tick])
            except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                text = f"A snapshot must be whole; got {named[tick]} ({reason}). It is left out for an older one."
                warnings.warn(text, HomeostatWarning, stacklevel=3)

    def _write(self, tick: int, skeleton: Mapping[str, Any], copies: Copies) -> None:
        target = self._directory / f"snapshot-{tick:010d}-{self._rank}of{self._ranks}.pt"
        partial = target.with_name(f".{target.name}.partial")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            if copies.made is not None:
                copies.made.synchronize()
            tensors = [tensor.cpu() for tensor in copies.tensors]
            torch.save({"format": _FORMAT, "tick": tick, "skeleton": dict(skeleton), "tensors": tensors}, partial)
            _sync(partial)
            partial.rename(target)
            _sync(self._directory)
            self._drop(tick)
        except (OSError, RuntimeError) as error:
            self._failure = error
            partial.unlink(missing_ok=True)

    def _drop(self, newest: int) -> None:
        """Remove what is too old, what a killed run has left half written, and what lies in the future of `newest`."""
        named = self._named()
        kept = sorted(tick for tick in named if tick <= newest)[-self._keep :]
        for tick in named.keys() - set(kept):
            named[tick].unlink(missing_ok=True)
        for partial in self._directory.glob(f".snapshot-*-{self._rank}of{self._ranks}.pt.partial"):
            partial.unlink(missing_ok=True)

    def _named(self) -> dict[int, Path]:
        own = (str(self._rank), str(self._ranks))
        return {int(found[1]): self._directory / found.string for found in self._names() if found.group(2, 3) == own}

    def _names(self) -> list[re.Match[str]]:
        if not self._directory.is_dir():
            return []
        found = (re.fullmatch(r"snapshot-(\d+)-(\d+)of(\d+)\.pt", path.name) for path in self._directory.iterdir())
        return [match for match in found if match]


def _read(path: Path) -> Loaded:
    with zipfile.ZipFile(path) as archive:
        # torch.load does not look at the checksums.
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} does not match its checksum")
    with torch.serialization.safe_globals([Stored]):
        found = torch.load(path, weights_only=True, map_location="cpu")
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise ValueError(f"it is no {_FORMAT}")
    return Loaded(found["tick"], found["skeleton"], found["tensors"])


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
