"""The trace as TensorBoard scalars."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from homeostat.errors import HomeostatError, MissingExtraError
from homeostat.trace import Entry, Event, Intervention, Metric, Record, Vitals

# SummaryWriter waits once its queue is full; this many entries are written while the next step runs.
QUEUE = 1000


class TensorBoard:
    """Writes every loop's reading, setpoint and delivered knob value, every metric, event and intervention.

    Scalars are named `<loop>/reading`, `<loop>/setpoint`, `<loop>/delivered` (with `.0`, `.1`, ... where a loop has
    several), `metrics/<name>`, and `vitals/homeostasis` and `vitals/<loop>` for the regulation; the step is the tick.
    A run that is resumed, or replayed from a snapshot, hides what was written from its tick on.

    Args:
        folder: the log directory; the same for a run and its continuation.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 (an optional dependency)
        except ImportError as error:
            raise MissingExtraError("tensorboard", "tensorboard") from error
        self.folder = Path(folder)
        self._make = SummaryWriter
        self._writer: Any = None

    def open(self, description: Mapping[str, Any]) -> None:
        """Begin, or go on with, a run; its description is shown as text."""
        self.close()
        tick = description.get("tick", 0)
        self._writer = self._make(str(self.folder), max_queue=QUEUE, purge_step=tick or None)
        indented = json.dumps(description, indent=2).replace("\n", "\n    ")
        self._writer.add_text("run", f"    {indented}", tick)

    def write(self, entry: Entry) -> None:
        """Hand one entry to TensorBoard's own writing thread."""
        if self._writer is None:
            msg = (
                f"TensorBoard must be opened before entries are written; got one at tick {entry.tick}. Call open first."
            )
            raise HomeostatError(msg)
        match entry:
            case Record():
                self._write_values(f"{entry.loop}/reading", entry.readings, entry.tick)
                self._write_values(f"{entry.loop}/setpoint", entry.setpoints, entry.tick)
                self._write_values(f"{entry.loop}/delivered", entry.delivered, entry.tick)
            case Metric():
                self._writer.add_scalar(f"metrics/{entry.name}", entry.value, entry.tick)
            case Event():
                self._writer.add_text("events", entry.text, entry.tick)
            case Intervention():
                self._writer.add_text("interventions", entry.sentence, entry.tick)
                if entry.replayed:
                    self._go_back(entry.back_to or 0)
            case Vitals():
                self._writer.add_scalar("vitals/homeostasis", entry.homeostasis, entry.tick)
                for name, loop in entry.loops.items():
                    self._writer.add_scalar(f"vitals/{name}", loop.regulation, entry.tick)

    def flush(self) -> None:
        """Wait until the event file holds what was written."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Flush and close the event file; a closed sink can be opened again."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _go_back(self, tick: int) -> None:
        """Hide what was written from `tick` on: the run takes these steps again."""
        self._writer.close()
        self._writer = self._make(str(self.folder), max_queue=QUEUE, purge_step=tick)

    def _write_values(self, name: str, values: tuple[float, ...], tick: int) -> None:
        for i, value in enumerate(values):
            self._writer.add_scalar(name if len(values) == 1 else f"{name}.{i}", value, tick)
