"""The how-tos on registers: every block of code runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (HOW_TO / page).read_text(encoding="utf-8"), re.DOTALL)


def run(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_map_a_csv(tmp_path: Path) -> None:
    """The mapping of the page reads the list of the page."""
    (tmp_path / "list.csv").write_text(blocks("map-a-csv.md", "text")[0], encoding="latin-1")
    (tmp_path / "mapping.toml").write_text(blocks("map-a-csv.md", "toml")[0], encoding="utf-8")
    out = run(blocks("map-a-csv.md", "python")[0], tmp_path)
    assert "('SC000002', '', None, 'Sample Ltd')" in out
    assert "datetime.date(2020, 6, 5)" in out
    assert "rejects []" in out


def test_add_a_register(tmp_path: Path) -> None:
    """The adapter of the page reads the list of the page, and sets its bad record aside."""
    adapter, trial = blocks("add-a-register.md", "python")
    (tmp_path / "lighthouses.py").write_text(adapter, encoding="utf-8")
    out = run(trial, tmp_path)
    assert "datetime.date(1901, 5, 1), 'North Point', '1901-05-01'" in out
    assert "(3, 'no number', ',Nameless,Bob,')" in out
