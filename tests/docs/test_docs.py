"""What the documentation says is so: its commands run, nothing is missing from it, no link leads nowhere."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from duecare.registers.changes import KINDS
from duecare.registers.tables import COLUMNS
from duecare.settings import Settings

from .. import program
from .cli_reference import commands, reference, runs

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(console|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
SLOW = ("duecare demo", "make ")
"""Commands that have tests of their own, and are not run a second time from the pages."""
ELSEWHERE = ("map-a-csv.md", "add-a-register.md", "run-a-park.md")
"""Pages whose blocks are files of one another; tests of their own make those files and run them."""


def blocks() -> list[tuple[str, list[tuple[str, str]]]]:
    """The pages that have something to run, with their blocks."""
    found = [(str(page.relative_to(ROOT)), _BLOCK.findall(page.read_text(encoding="utf-8"))) for page in PAGES]
    return [(page, each) for page, each in found if each and Path(page).name not in ELSEWHERE]


@pytest.fixture
def desk(tmp_path: Path, data: Path) -> Path:
    """A folder with the files that the pages name, taken from real data."""
    for name in ("2025-02-27.csv", "2025-02-28.csv"):
        shutil.copy(data / "us-sec-issuers-history" / name, tmp_path / name)
    with zipfile.ZipFile(tmp_path / "BasicCompanyDataAsOneFile-2020-02-01.zip", "w") as packed:
        packed.write(data / "uk-companies-house-sample" / "companies-1000.csv", "BasicCompanyData.csv")
    return tmp_path


@pytest.mark.parametrize(("page", "found"), blocks(), ids=[page for page, _ in blocks()])
def test_blocks_run(page: str, found: list[tuple[str, str]], desk: Path) -> None:
    """Each console and Python block of a page runs, in order, in one home."""
    environment = {**os.environ, "DUECARE_HOME": str(desk / "home"), "PYTHONPATH": str(ROOT / "src")}
    for language, body in found:
        if language == "python":
            command = [sys.executable, "-c", body]
            runs_it = [subprocess.run(command, cwd=desk, env=environment, capture_output=True, text=True, timeout=120)]
        else:
            lines = [line[2:] for line in body.splitlines() if line.startswith("$ ")]
            typed = [shlex.split(line, comments=True) for line in lines if not line.startswith(SLOW)]
            assert {name for name, *_ in typed} <= {"duecare"}
            runs_it = (program.run(*words, cwd=desk, env=environment) for _, *words in typed)
        for done in runs_it:
            assert done.returncode == 0, f"{page}: {done.args}\n{done.stdout}\n{done.stderr}"


def test_reference_of_the_command_line_is_current() -> None:
    """The page of commands and settings is what the commands and settings say."""
    written = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert written == reference(), "python -m tests.docs.cli_reference > docs/reference/cli.md"


def test_every_command_has_an_example() -> None:
    """Each command's help ends in an example that begins with its words."""
    for words, command in commands():
        if runs(command):
            assert "Example:" in (command.help or ""), words
            assert words in command.help.split("Example:")[1], words


def section(page: str, words: str) -> str:
    """What the page says of one command."""
    return page.split(f"## `{words}`\n", 1)[1].split("\n## ", 1)[0]


def test_every_example_of_the_reference_is_a_whole_command() -> None:
    """What the page gives as an example, pasted, has every argument and option that the command cannot do without."""
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    for words, command in commands():
        for given in re.findall(rf"^Example: `(?:\w+=\S+ )?{words}( [^`]*)?`", section(page, words), re.M):
            command.make_context(words, shlex.split(given))


def test_every_setting_kind_and_column_is_described() -> None:
    """Nothing that a person can set or read is missing from the pages."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name in Settings.model_fields:
        assert f"`{name}`" in text, name
    for kind in KINDS:
        assert f"`{kind}`" in text, kind
    formats = (ROOT / "docs" / "reference" / "formats.md").read_text(encoding="utf-8")
    for table, columns in COLUMNS.items():
        assert f"## `{table}`" in formats
        for column in columns.split(", "):
            name, kind = column.split(" ", 1)
            assert f"| `{name}` | {kind} |" in formats, f"{table}.{name}"


def test_links_lead_somewhere() -> None:
    """Each link to a file of the project finds it, and the index names every page."""
    for page in PAGES:
        for target in _LINK.findall(page.read_text(encoding="utf-8")):
            if "://" not in target and not target.startswith("mailto:"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in PAGES[1:]:
        if page.name != "index.md":
            assert str(page.relative_to(ROOT / "docs")) in index, f"docs/index.md does not name {page}"
