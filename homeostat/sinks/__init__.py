"""Where the trace goes, and how it is read back."""

from __future__ import annotations

from homeostat.sinks.jsonl import JsonLines
from homeostat.sinks.run import TRACE, Run, read_run
from homeostat.sinks.tensorboard import TensorBoard

__all__ = ["TRACE", "JsonLines", "Run", "TensorBoard", "read_run"]
