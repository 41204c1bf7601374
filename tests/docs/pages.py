"""The pages of the documentation, and the fenced blocks in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if page.is_file()]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\w+\.(?:py|yaml))\n")


class Block(NamedTuple):
    """One fenced block.

    Attributes:
        language: as the fence says.
        text: what is between the fences.
        line: number of the line before its first, so that as many newlines put it where it stands in the page.
        follows: whether nothing but blank lines separates it from the block before.
    """

    language: str
    text: str
    line: int
    follows: bool

    @property
    def file(self) -> str | None:
        """The file that the first line, `# name.py` or `# name.yaml`, says this is."""
        named = _FILE.match(self.text)
        return named[1] if named else None


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page's text, in order."""
    found = []
    end = 0
    for match in _FENCE.finditer(page):
        line = page.count("\n", 0, match.start(2))
        found.append(Block(match[1], match[2], line, bool(found) and not page[end : match.start()].strip()))
        end = match.end()
    return found
