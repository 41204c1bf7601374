"""What a person looks at: one HTML file a run."""

from __future__ import annotations

from pathlib import Path

from homeostat.errors import MissingExtraError
from homeostat.sinks.run import read_run

__all__ = ["write_report"]


def write_report(run: str | Path, output: str | Path | None = None) -> Path:
    """Write one self-contained HTML file that shows what every loop of a run read, wanted and did.

    Args:
        run: the folder of a run, or its trace file.
        output: where to write; by default `report.html` beside the trace.

    Returns:
        the file written.

    Raises:
        TraceError: the trace cannot be read, or holds nothing to show.
        MissingExtraError: plotly is not installed.
    """
    run = Path(run)
    recorded = read_run(run)
    try:
        from homeostat.report.page import write_page  # noqa: PLC0415 (needs an optional dependency)
    except ImportError as error:
        raise MissingExtraError("plotly", "report") from error
    target = Path(output) if output is not None else (run if run.is_dir() else run.parent) / "report.html"
    write_page(recorded, target)
    return target
