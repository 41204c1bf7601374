"""Every code block of the documentation runs, and prints what the page says it prints."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml

from echo_reference.commands import run as echo_reference
from homeostat import Part
from homeostat.__main__ import main as homeostat
from homeostat.recipes import Recipe
from tests.docs.pages import PAGES, ROOT, Block, blocks


class Reader:
    """Does what a page says, block by block, in the present folder."""

    def __init__(self, page: str) -> None:
        self.page = page
        self.module = ModuleType(f"page_{Path(page).stem}")
        self.printed: str | None = None

    def read(self, block: Block) -> None:
        if block.file is not None:
            Path(block.file).write_text(block.text)
            importlib.invalidate_caches()
        match block.language:
            case "python" if block.file is None:
                self.printed = self.run(block)
            case "yaml":
                validate(block)
            case "text" if block.follows and self.printed is not None:
                assert self.printed.splitlines() == block.text.splitlines(), f"{self.page}:{block.line}"
                self.printed = None

    def run(self, block: Block) -> str:
        code = compile("\n" * block.line + block.text, self.page, "exec")
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(code, vars(self.module))  # noqa: S102 - the page's own code is what is tested
        return out.getvalue()


def validate(block: Block) -> None:
    """A whole recipe, or one part of one, must be valid."""
    document = yaml.safe_load(block.text)
    if "loops" in document:
        assert Recipe.model_validate(document).loops
    elif "kind" in document:
        Part.model_validate(document)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in; the parts that a page defines are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(Part, "kinds", dict(Part.kinds))
    before = set(sys.modules)
    with torch.random.fork_rng():
        yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_does_what_it_says(page):
    reader = Reader(str(page.relative_to(ROOT)))
    for block in blocks(page.read_text(encoding="utf-8")):
        reader.read(block)


def commands(page: Path) -> list[list[str]]:
    """The commands of a page's console blocks: the lines with a prompt, or all where there is none."""
    found = []
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language in {"console", "sh", "bash"}:
            lines = block.text.replace("\\\n", " ").splitlines()
            prompted = [line[2:] for line in lines if line.startswith("$ ")]
            found += [shlex.split(line, comments=True) for line in prompted or lines]
    return [words for words in found if words]


def ask_for_help(program: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    subcommand = [word for word in words[:1] if not word.startswith("-")]
    with contextlib.suppress(SystemExit):
        {"echo-reference": echo_reference, "homeostat": homeostat}[program]([*subcommand, "--help"])
    printed = capsys.readouterr()
    assert not printed.err, printed.err
    return printed.out


COMMANDS = [(page.name, words) for page in [*PAGES, ROOT / "CONTRIBUTING.md"] for words in commands(page)]


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[" ".join(words) for _, words in COMMANDS])
def test_a_command_exists_and_has_the_options_named(page, words, capsys):
    program, *rest = words
    name = Path(program).name
    if name in {"echo-reference", "homeostat"}:
        offered = ask_for_help(name, rest, capsys)
        for option in (word.split("=")[0] for word in rest if word.startswith("--")):
            assert re.search(rf"{re.escape(option)}\b", offered), f"{page}: {name} offers no {option}"
    elif name == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for target in rest:
            assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"{page}: make has no {target}"
    else:
        assert name in {"pip", "git", "cd", "python", "python3", "pytest", "ruff", "mypy"}, f"{page}: what is {name}?"
        for path in (word for word in rest if word.startswith(("benchmarks/", "tests/", "docs/"))):
            assert (ROOT / path).exists(), f"{page}: there is no {path}"


def test_every_page_is_there():
    assert {"README.md", "attach.md", "parts.md", "recipes.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://", "#")):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path
        assert linked.exists(), f"{page.name}: there is no {path}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page.name}: {path} has no section {anchor}"


class TestTheReader:
    """What reads the pages notices when one is wrong."""

    def read(self, text: str) -> None:
        reader = Reader("page.md")
        for block in blocks(text):
            reader.read(block)

    def test_another_output_is_noticed(self):
        self.read("```python\nprint(1)\n```\n\n```text\n1\n```\n")
        with pytest.raises(AssertionError, match=r"page.md:5"):
            self.read("```python\nprint(1)\n```\n\n```text\n2\n```\n")

    def test_an_error_is_told_with_its_line(self):
        with pytest.raises(ZeroDivisionError) as caught:
            self.read("words\n\n```python\n\n1 / 0\n```\n")
        assert (caught.traceback[-1].frame.code.path, caught.traceback[-1].lineno + 1) == ("page.md", 5)

    def test_names_last_to_the_end_of_the_page(self):
        self.read("```python\na = 1\n```\n\n```python\nassert a == 1\n```\n")
        with pytest.raises(NameError):
            self.read("```python\na\n```\n")

    def test_a_recipe_that_is_not_valid_is_noticed(self):
        with pytest.raises(ValueError, match="Nonsense"):
            self.read("```yaml\nloops:\n  - {kind: Nonsense}\n```\n")
