"""Addresses of databases: a wrong one is refused in words, and no password is shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from duecare.errors import BadInput
from duecare.store.database import Database


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://x", "of the kind mysql"),
        ("oracle+cx_oracle://x", "of the kind oracle"),
        ("postgresql+pg8000://h/x", "names the driver pg8000"),
        ("postgresql+psycopg2://h/x", "names the driver psycopg2"),
        ("sqlite+nodriver:///x", "names the driver nodriver"),
        ("sqlite://x/y.db", "has a host"),
        ("nonsense", "'nonsense', which is none"),
        (" ", "' ', which is none"),
        ("sqlite:relative.db", "which is none"),
        ("postgresql://me:hidden@h:port/x", "me:***@h:port"),
        ("postgresql://me:hidden@127.0.0.1:1/x", "me:***@127.0.0.1:1/x cannot be opened"),
        ("postgresql://me@127.0.0.1:1/x?password=hidden", "cannot be opened"),
        ("postgresql://127.0.0.1:1/x?nosuch=1", "cannot be opened"),
        ("sqlite:////proc/nowhere/x.db", "/proc/nowhere"),
    ],
)
def test_a_wrong_address_is_refused_with_what_is_right(url: str, says: str) -> None:
    """What was given, what is wrong with it, and both forms that are right; a password is not shown."""
    with pytest.raises(BadInput) as refused:
        Database(url)
    assert says in refused.value.message
    assert "sqlite:///" in refused.value.hint
    assert "postgresql://" in refused.value.hint
    assert "hidden" not in str(refused.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Some other file at the address is left as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database " * 100)
    with pytest.raises(BadInput, match="not a database"):
        Database(f"sqlite:///{path}")
    assert path.read_text() == "not a database " * 100


def test_a_command_ends_with_a_sentence(tmp_path: Path) -> None:
    """``duecare`` on a wrong address exits with 2 and shows no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "duecare", "sources", "--home", tmp_path],
        env={"DUECARE_DATABASE_URL": "mysql://x"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "of the kind mysql" in done.stderr
    assert "postgresql://" in done.stderr
    assert "Traceback" not in done.stderr
