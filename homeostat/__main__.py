"""The command line: `homeostat report RUN`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from homeostat.errors import HomeostatError
from homeostat.report import write_report
from homeostat.version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0, or 2 after one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="homeostat", description="Look at what a controlled training run did.")
    parser.add_argument("--version", action="version", version=f"homeostat {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    report = commands.add_parser("report", help="write one HTML file that shows every loop of a run")
    report.add_argument("run", metavar="RUN", help="the folder of a run, or its trace.jsonl")
    report.add_argument("--output", metavar="FILE", help="where to write (default: report.html beside the trace)")
    options = parser.parse_args(arguments)
    try:
        print(write_report(options.run, options.output))
    except (HomeostatError, OSError) as error:
        print(f"homeostat: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
