"""Tables of the report, which a phone shows as cards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

WARN = ' class="warn"'


class Cell(NamedTuple):
    """What stands in a cell, as HTML, and whether it is to stand out."""

    html: str
    warn: bool = False


def table(names: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a table with `names` above its columns; nothing where it has no rows."""
    if not rows:
        return ""
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(f"<tr>{_cells(names, row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(names: Sequence[str], row: Sequence[Cell]) -> str:
    return "".join(
        f'<td data-label="{name}"{WARN if cell.warn else ""}><span>{cell.html}</span></td>'
        for name, cell in zip(names, row, strict=True)
    )
