"""Folders for passing files: gone with who made them, however they ended."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from duecare.store import passing

HOLDS_ONE = """
import sys
from duecare.store import passing
with passing.folder() as folder:
    (folder / "unpacked").write_text("much")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of our own, for us and the processes we start."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def holding() -> tuple[subprocess.Popen[str], Path]:
    """A process that lives in a folder until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS_ONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_folder_is_gone_after_its_block(temporary: Path) -> None:
    """Also where the block fails."""

    def fail() -> None:
        with passing.folder() as made:
            (made / "file").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(temporary.iterdir()) == []


def test_the_next_removes_what_a_killed_process_left(temporary: Path) -> None:
    """Of a process killed with -9 the folder stays, until the next folder is made; of one that lives, nothing goes."""
    dead, left = holding()
    alive, used = holding()
    with dead, alive:
        dead.kill()
        dead.wait(60)
        assert (left / "unpacked").is_file()
        with passing.folder() as mine:
            assert sorted(temporary.iterdir()) == sorted([used, mine])
            assert (used / "unpacked").read_text() == "much"
        alive.communicate(timeout=60)
    assert list(temporary.iterdir()) == []


def test_what_is_not_ours_is_left_alone(temporary: Path) -> None:
    """A link of that name is not followed, and a file of that name is no folder."""
    kept = temporary / "kept"
    kept.mkdir()
    (temporary / "duecare-passing-link").symlink_to(kept)
    (temporary / "duecare-passing-file").write_text("x")
    with passing.folder():
        pass
    assert {path.name for path in temporary.iterdir()} == {"kept", "duecare-passing-link", "duecare-passing-file"}
