"""The trace on disk: JSON Lines that survive a kill."""

from __future__ import annotations

import json
import math
import os
import time
import warnings
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from homeostat.errors import HomeostatError, HomeostatWarning, TraceError
from homeostat.trace import Entry, Event, Intervention, Metric, Record, Vitals

# What the first line of every trace begins with.
HEAD = b'{"run":'
# Entries kept while the disk refuses them; at about 300 bytes each this stays under 10 MB.
BACKLOG = 32768

_STRICT = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


class JsonLines:
    """Appends every entry to a file as one line of strict JSON, written in blocks.

    The first line describes the run; a run that is resumed adds a description with the tick it goes on from.
    A non-finite number is written as the string "NaN", "Infinity" or "-Infinity". A block goes to the system in
    one call, so a killed process leaves at most one torn line, which opening the file again cuts off. A disk
    that refuses a block costs a warning, not the run: the entries are kept and tried again.

    Args:
        path: the file; its folder is made if need be. An existing trace is continued.
        block: entries gathered before they are written.
        seconds: greatest age of a gathered entry at the next `write`.

    Raises:
        ValueError: `block` is below 1.
        TraceError: at `open`, `path` holds something that is no trace, or cannot be written.
    """

    def __init__(self, path: str | Path, block: int = 64, seconds: float = 5.0) -> None:
        if block < 1:
            msg = f"JsonLines.block must be at least 1; got {block}. Use 1 to write every entry at once."
            raise ValueError(msg)
        self.path = Path(path)
        self.block = block
        self.seconds = seconds
        self._pending: list[Entry] = []
        self._due = 0.0
        self._file: _File | None = None
        self._finish: weakref.finalize[[_File, Sequence[Entry], int], JsonLines] | None = None

    def open(self, description: Mapping[str, Any]) -> None:
        """Begin a run at `path`, or go on with the one that is there; cuts off a torn last line."""
        self.close()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _File(self.path)
        except OSError as error:
            msg = f"A trace must be a file that can be written; got {self.path} ({error.strerror}). Name another."
            raise TraceError(msg) from error
        self._file.append(_line({"run": dict(description)}))
        # A script that ends without `detach` must not lose its last block.
        self._finish = weakref.finalize(self, _write_rest, self._file, self._pending, os.getpid())

    def write(self, entry: Entry) -> None:
        """Take one entry; writes a block when it is full or its first entry is `seconds` old."""
        if self._file is None:
            msg = f"JsonLines must be opened before entries are written; got one at tick {entry.tick}. Call open first."
            raise HomeostatError(msg)
        now = time.monotonic()
        if not self._pending:
            self._due = now + self.seconds
        self._pending.append(entry)
        if now >= self._due or len(self._pending) % self.block == 0:
            self._write_block()

    def flush(self) -> None:
        """Write what is gathered and wait until the disk has it."""
        if self._file is not None and self._write_block():
            self._file.sync()

    def close(self) -> None:
        """Flush and close the file; a closed sink can be opened again."""
        if self._file is not None and self._finish is not None:
            self.flush()
            self._finish.detach()
            self._file.close()
            self._file = None

    def _write_block(self) -> bool:
        if self._file is None:
            return False
        self._due = time.monotonic() + self.seconds
        try:
            self._file.append(_block(self._pending))
        except OSError as error:
            del self._pending[:-BACKLOG]
            warnings.warn(
                f"The trace {self.path} must be writable; got {error.strerror}. "
                f"Make room: the last {BACKLOG} entries are kept and written then.",
                HomeostatWarning,
                stacklevel=2,
            )
            return False
        self._pending.clear()
        return True


class _File:
    """A file that only ever ends in whole lines, or in one torn line that the next append cuts off."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        try:
            self._end = self._last_line_end(path)
        except BaseException:
            self.close()
            raise

    def append(self, data: bytes) -> None:
        if os.lseek(self._descriptor, 0, os.SEEK_END) != self._end:
            os.ftruncate(self._descriptor, self._end)
            os.lseek(self._descriptor, self._end, os.SEEK_SET)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._end += len(data)

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)

    def _last_line_end(self, path: Path) -> int:
        head = os.read(self._descriptor, len(HEAD))
        if not HEAD.startswith(head):
            msg = (
                f"{path} must be a trace or not exist; got a file that begins with {head!r}. Choose another path: "
                "nothing was overwritten."
            )
            raise TraceError(msg)
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            os.lseek(self._descriptor, start, os.SEEK_SET)
            found = os.read(self._descriptor, end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
        return 0


def _write_rest(file: _File, pending: Sequence[Entry], owner: int) -> None:
    # A forked child inherits the buffer; only the process that gathered it may write it.
    if os.getpid() == owner:
        file.append(_block(pending))
        file.close()


def _block(entries: Sequence[Entry]) -> bytes:
    return b"".join(_line(_fields(entry)) for entry in entries)


def _fields(entry: Entry) -> dict[str, Any]:
    match entry:
        case Record():
            return entry._asdict()
        case Metric():
            return {"tick": entry.tick, "metric": entry.name, "value": entry.value}
        case Event():
            return {"tick": entry.tick, "event": entry.text}
        case Intervention():
            return {"tick": entry.tick, "intervention": entry._asdict()}
        case Vitals():
            loops = {name: loop._asdict() for name, loop in entry.loops.items()}
            return {"tick": entry.tick, "homeostasis": entry.homeostasis, "loops": loops}


def _line(value: Any) -> bytes:
    try:
        text = _STRICT.encode(value)
    except ValueError:
        # Rare, so the common case does not pay for the search.
        text = _STRICT.encode(_named(value))
    return text.encode() + b"\n"


def _named(value: Any) -> Any:
    """Replace non-finite numbers by their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _named(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_named(item) for item in value]
    return value
