"""Where the trace goes, and how it is read back."""

from __future__ import annotations

from homeostat.sinks.jsonl import JsonLines
from homeostat.sinks.run import TRACE, Run, read_run

__all__ = ["TRACE", "JsonLines", "Run", "read_run"]
