"""What the vault stores is what its reference says: a reader that was written from that page alone opens it."""

from __future__ import annotations

import ast
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from duecare.vault import erasure, rotation
from duecare.vault.records import Vault

from . import independent_reader
from .independent_reader import Gone, Unreadable, read
from .park import BASIC, PRINT, furnish, holder, opened


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def vault(home: Path) -> Iterator[Vault]:
    with opened(home, witnessed_by=[]) as made:
        furnish(made)
        yield made


def test_the_reader_knows_nothing_of_us() -> None:
    """It imports the standard library and cryptography, and no more."""
    tree = ast.parse(Path(independent_reader.__file__).read_text())
    named = {each.module or "" for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)}
    named |= {name.name for each in ast.walk(tree) if isinstance(each, ast.Import) for name in each.names}
    assert {name.partition(".")[0] for name in named} <= {*sys.stdlib_module_names, "cryptography"}


def test_an_independent_reader_opens_what_is_sealed(vault: Vault, home: Path) -> None:
    """Columns and blobs, a value that serves two purposes, before and after a rotation; and as a program."""
    subject = holder(vault)
    for _ in range(2):
        for name, value in BASIC.items():
            assert read(home, subject, name, "pass_contract") == value.encode()
        assert read(home, subject, "fingerprint", "fingerprint_entry") == PRINT
        assert read(home, subject, "phone", "news") == BASIC["phone"].encode()
        rotation.rotate(vault)
    program = [sys.executable, independent_reader.__file__, str(home), subject, "name", "pass_contract"]
    assert subprocess.run(program, capture_output=True, check=True, timeout=60).stdout.decode() == BASIC["name"]


def test_it_reads_for_no_other_purpose(vault: Vault, home: Path) -> None:
    """A purpose that has no wrap opens nothing; nor does a row that was made to name another subject."""
    subject, other = holder(vault), holder(vault)
    with pytest.raises(Unreadable, match="no such field"):
        read(home, subject, "name", "news")
    with pytest.raises(Unreadable, match="is live"):
        read(home, subject, "photo", "pass_photo")
    moved = home.parent / "moved"
    shutil.copytree(home, moved)
    with sqlite3.connect(moved / "duecare.db") as database:
        database.execute("DROP TRIGGER vault_keys_forward")
        database.execute(
            "DELETE FROM vault_wraps WHERE key_id IN (SELECT id FROM vault_keys WHERE subject = ?)", (other,)
        )
        database.execute("DROP INDEX uq_vault_keys_live")
        database.execute("DROP INDEX ix_vault_keys_purpose")
        database.execute("UPDATE vault_keys SET state = 'erasing' WHERE subject = ?", (other,))
        database.execute("UPDATE vault_keys SET subject = ? WHERE subject = ?", (other, subject))
    with pytest.raises(Unreadable, match="the data key does not unwrap"):
        read(moved, other, "name", "pass_contract")


def test_after_the_erasure_it_reads_nothing(vault: Vault, home: Path) -> None:
    """Nor from a copy of the database and the sealed files that was made before: the key is gone from keys/."""
    subject = holder(vault)
    before = home.parent / "before"
    shutil.copytree(home, before)
    assert read(before, subject, "fingerprint", "fingerprint_entry") == PRINT
    erasure.withdraw(vault, subject, "fingerprint_entry", how="a click", screen="my data")
    with pytest.raises(Unreadable, match="is live"):
        read(home, subject, "fingerprint", "fingerprint_entry")
    shutil.rmtree(before / "keys")
    shutil.copytree(home / "keys", before / "keys")
    with pytest.raises(Gone):
        read(before, subject, "fingerprint", "fingerprint_entry")
    assert read(before, subject, "name", "pass_contract") == BASIC["name"].encode()
