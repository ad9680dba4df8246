"""Backups are sealed as a whole, hold no keys, and bring nothing back that was erased."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duecare.errors import BadInput, Erased, EvidenceBroken, KeyLost, UnknownName
from duecare.settings import load
from duecare.vault import erasure
from duecare.vault.backup import Backup, _Reader, _Writer, backup, backups, end_backup, restore

from ..conftest import POSTGRES
from .park import BASIC, PRINT, furnish, holder, opened


def made(home: Path, url: str, folder: Path) -> tuple[Backup, str, str]:
    """A home with two holders, a backup of it, and one of the two erased since."""
    with opened(home, url, witnessed_by=[]) as vault:
        furnish(vault)
        gone, stays = holder(vault), holder(vault)
        done = backup(vault.home, folder)
        erasure.erase(vault, gone)
    return done, gone, stays


def strip(home: Path, url: str, *kept: str) -> None:
    """Everything is lost but what is named; the server's database is empty again."""
    for path in home.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if url.startswith("sqlite"):
        for path in Path(url.removeprefix("sqlite:///")).parent.glob("test.db*"):
            path.unlink()
        return
    name = url.rpartition("/")[2]
    with psycopg.connect(POSTGRES, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {name}")


def test_a_restored_backup_erases_again_what_was_erased(database_url: str, tmp_path: Path) -> None:
    """Beside the log and keys that were left, the old data comes back, and without what was erased since."""
    home = tmp_path / "home"
    done, gone, stays = made(home, database_url, tmp_path / "backup")
    strip(home, database_url, "keys", "log", "home.id")
    assert restore(load(home=home, database_url=database_url), done.folder).id == done.id
    with opened(home, database_url, witnessed_by=[]) as vault:
        assert vault.recovered.erasures == 3
        with pytest.raises(Erased):
            vault.open("name", gone, "pass_contract", "gate")
        assert vault.open("name", stays, "pass_contract", "gate") == BASIC["name"]
        assert vault.open("fingerprint", stays, "fingerprint_entry", "gate") == PRINT


def test_the_log_was_lost_too(database_url: str, tmp_path: Path) -> None:
    """Only keys/ is left: its destroyed slots say what was erased; the log goes on from the backup's."""
    home = tmp_path / "home"
    done, gone, stays = made(home, database_url, tmp_path / "backup")
    strip(home, database_url, "keys")
    restore(load(home=home, database_url=database_url), done.folder)
    with opened(home, database_url, witnessed_by=[]) as vault:
        with pytest.raises(Erased):
            vault.open("name", gone, "pass_contract", "gate")
        assert vault.open("name", stays, "pass_contract", "gate") == BASIC["name"]


def test_a_backup_holds_no_keys_and_is_noise(database_url: str, tmp_path: Path) -> None:
    """No key file, no export and no plain word is in it; only the manifest can be read, and names what is left out."""
    done, gone, _ = made(tmp_path / "home", database_url, tmp_path / "backup")
    assert sorted(path.name for path in done.folder.iterdir()) == ["home.sealed", "manifest.json"]
    sealed = (done.folder / "home.sealed").read_bytes()
    for word in (gone.encode(), b"annual-pass", b"SQLite format", b"keys/", b"vault.slots", BASIC["phone"].encode()):
        assert word not in sealed
    for path in (tmp_path / "home" / "keys").iterdir():
        assert not path.stat().st_size or path.read_bytes()[-32:] not in sealed
    assert '"keys"' in (done.folder / "manifest.json").read_text()
    assert not list((tmp_path / "home").glob(".dump-*"))


def test_without_its_key_a_backup_is_not_restored(database_url: str, tmp_path: Path) -> None:
    """The key of one backup is destroyed: all its copies are noise, and the others are not."""
    home = tmp_path / "home"
    done, _, _ = made(home, database_url, tmp_path / "backup")
    with opened(home, database_url, witnessed_by=[]) as vault:
        other = backup(vault.home, tmp_path / "other")
    end_backup(home, done.id)
    assert backups(home) == [other.id]
    strip(home, database_url, "keys", "log", "home.id")
    chosen = load(home=home, database_url=database_url)
    with pytest.raises(KeyLost, match=done.id):
        restore(chosen, done.folder)
    restore(chosen, other.folder)
    with pytest.raises(UnknownName):
        end_backup(home, done.id)


def test_nothing_that_is_there_is_written_over(database_url: str, tmp_path: Path) -> None:
    """A home in use, another home, another kind of database, a folder that is not a backup: refused and untouched."""
    home = tmp_path / "home"
    done, _, stays = made(home, database_url, tmp_path / "backup")
    chosen = load(home=home, database_url=database_url)
    with pytest.raises(BadInput, match="nothing there is written over"):
        restore(chosen, done.folder)
    with pytest.raises(BadInput, match="not an empty folder"), opened(home, database_url, witnessed_by=[]) as vault:
        backup(vault.home, done.folder)
    with pytest.raises(BadInput, match="is not a backup"):
        restore(chosen, tmp_path)
    other = tmp_path / "other"
    shutil.copytree(home / "keys", other / "keys")
    (other / "home.id").write_text("another")
    with pytest.raises(BadInput, match="is of the home"):
        restore(load(home=other, database_url=database_url), done.folder)
    (other / "home.id").unlink()
    wrong = f"sqlite:///{other / 'x.db'}" if not database_url.startswith("sqlite") else POSTGRES
    with pytest.raises(BadInput, match="database"):
        restore(load(home=other, database_url=wrong), done.folder)
    with opened(home, database_url, witnessed_by=[]) as vault:
        assert vault.open("name", stays, "pass_contract", "gate") == BASIC["name"]


def test_a_killed_restore_is_begun_again(tmp_path: Path) -> None:
    """What a killed restore left in part is replaced by the next; then it is whole."""
    home = tmp_path / "home"
    done, _, stays = made(home, "", tmp_path / "backup")
    strip(home, "sqlite:///nowhere/x", "keys", "log", "home.id")
    (home / "restoring").write_text(done.id)
    (home / ".restoring").mkdir()
    (home / "blobs").mkdir()
    (home / "blobs" / "half").write_bytes(b"half")
    restore(load(home=home), done.folder)
    assert not (home / "blobs" / "half").exists()
    assert not (home / "restoring").exists()
    with opened(home, witnessed_by=[]) as vault:
        assert vault.open("fingerprint", stays, "fingerprint_entry", "gate") == PRINT


@pytest.mark.parametrize("damage", ["changed", "cut", "swapped", "head", "longer"])
def test_a_damaged_backup_is_refused_and_leaves_the_home_alone(tmp_path: Path, damage: str) -> None:
    """A byte changed, the end or a part missing, chunks exchanged: an error, and nothing is put in place."""
    home = tmp_path / "home"
    with opened(home, witnessed_by=[]) as vault:
        furnish(vault)
        (home / "snapshots").mkdir()
        (home / "snapshots" / "big").write_bytes(bytes(3 << 20))
        done = backup(vault.home, tmp_path / "backup")
    path = done.folder / "home.sealed"
    data, chunk = bytearray(path.read_bytes()), (1 << 20) + 16
    if damage == "changed":
        data[len(data) // 2] ^= 1
    elif damage == "cut":
        del data[48 + chunk :]
    elif damage == "swapped":
        data[48 : 48 + chunk], data[48 + chunk : 48 + 2 * chunk] = (
            data[48 + chunk : 48 + 2 * chunk],
            data[48 : 48 + chunk],
        )
    elif damage == "head":
        data[20] ^= 1
    else:
        data += bytes(16)
    path.write_bytes(bytes(data))
    strip(home, "sqlite:///nowhere/x", "keys", "log", "home.id")
    with pytest.raises(EvidenceBroken, match="damaged or cut short"):
        restore(load(home=home), done.folder)
    assert sorted(each.name for each in home.iterdir()) == ["home.id", "keys", "log"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.integers(0, 1_100_000), max_size=4), key=st.binary(min_size=32, max_size=32))
def test_the_stream_gives_back_what_went_in(tmp_path: Path, parts: list[int], key: bytes) -> None:
    """Whatever the sizes of the pieces, at and around the length of a chunk."""
    pieces: list[Any] = [bytes([at % 251]) * size for at, size in enumerate(parts)]
    path = tmp_path / "stream"
    with path.open("wb") as file:
        writer = _Writer(file, key)
        for piece in pieces:
            writer.write(piece)
        writer.finish()
    with path.open("rb") as file:
        assert _Reader(file, key).readall() == b"".join(pieces)
