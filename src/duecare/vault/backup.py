"""Backups: a home in one sealed file, without its keys; and putting one back.

A backup is encrypted as a whole under a key of its own, which stays in ``keys/``: what rests in plain rows is noise in
it as sealed values are, and ends when that key is destroyed. What was erased after it was made is erased again when the
restored home is opened (``replay``). docs/reference/vault.md states the format.

The rule of this module: ``keys/`` is in no backup; and nothing that is there is written over by a restore.
"""

from __future__ import annotations

import hmac
import io
import json
import os
import secrets
import shutil
import sqlite3
import struct
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import URL

from duecare.errors import BadInput, EvidenceBroken, KeyLost, UnknownName
from duecare.evidence.checkpoint import Checkpoint, Note
from duecare.settings import Settings
from duecare.store import durable
from duecare.store.database import address
from duecare.store.home import Home
from duecare.vault.keys import KEY_SIZE, refuse_wide

FORMAT = "duecare-backup/1"
LEFT_OUT = ("keys", "exports", "search")
"""Folders that no backup holds: the keys, the plain copies made for people, and an index that is made anew."""

_MAGIC = b"duecare backup 1"
_SALT = 32
_CHUNK = 1 << 20
_NONCE = struct.Struct(">3xQB")  # number of the chunk, 1 in the last one
_TAG = 16
_DATABASE = ".database"
_SEALED, _MANIFEST = "home.sealed", "manifest.json"
_MAY_BE_THERE = {"keys", "log", "home.id", "settings.toml", "restoring"}


@dataclass(frozen=True)
class Backup:
    """A backup that was made: its ``id``, the home it is of, its folder, and its size in bytes."""

    id: str
    home: str
    folder: Path
    made_at: datetime
    size: int


def backup(home: Home, folder: Path) -> Backup:
    """Make a backup of ``home`` in ``folder``, which is made if absent. The home stays in use.

    Copy ``keys/`` to another place at the same time: without it the backup cannot be read. Raises ``BadInput``.
    """
    _make_empty(folder)
    name, key = secrets.token_hex(8), secrets.token_bytes(KEY_SIZE)
    url = address(home.settings.database)
    kind = "sqlite" if home.database.embedded else "postgresql"
    durable.keep(_key_path(home.path, name), f"duecare-backup-key/1 {name} {key.hex()}\n".encode())
    made_at = home.clock.now()
    # While it reads, nothing removes the files that the database it has copied names.
    with home.readers.reading(), (folder / _SEALED).open("wb") as raw:
        writer = _Writer(raw, key)
        with tarfile.open(fileobj=writer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            with _dumped(home.path, url, kind) as dumped:
                archive.add(dumped, _DATABASE)
            for path, arcname in _files(home.path, url):
                with suppress(FileNotFoundError):
                    archive.add(path, arcname, recursive=False)
        writer.finish()
        raw.flush()
        os.fsync(raw.fileno())
    manifest = {"format": FORMAT, "id": name, "home": home.id, "made_at": made_at.isoformat(), "database": kind}
    text = json.dumps({**manifest, "left_out": list(LEFT_OUT)}, indent=2) + "\n"
    (folder / _MANIFEST).write_text(text, encoding="utf-8")
    durable.sync(folder)
    return Backup(name, home.id, folder, made_at, (folder / _SEALED).stat().st_size)


def restore(settings: Settings, folder: Path) -> Backup:
    """Put the backup in ``folder`` back into a home that has its ``keys/`` and, if it is left, its ``log/``; no more.

    A log that is there and longer than the backup's stays: what it knows as erased is erased again when the vault is
    opened. Killed anywhere, it can be run again. Raises ``BadInput``, ``KeyLost``, ``EvidenceBroken``.
    """
    said, home = _manifest(folder), settings.home
    key = _key(home, said["id"])
    url = address(settings.database)
    _refuse_used(home, url, said)
    staged = home / ".restoring"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        with (folder / _SEALED).open("rb") as raw:
            reader = io.BufferedReader(_Reader(raw, key), _CHUNK)
            with tarfile.open(fileobj=reader, mode="r|") as archive:
                # As an attribute: Python before 3.11.4 has neither the filter nor the argument, and what is laid out
                # here was authenticated, and is ours.
                archive.extraction_filter = getattr(tarfile, "data_filter", None)
                archive.extractall(staged)
            reader.read()  # to its last chunk: a file that was cut short is found out
        (home / "restoring").write_text(said["id"])
        _place(staged, home, url)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    (home / "restoring").unlink()
    made_at = datetime.fromisoformat(said["made_at"])
    return Backup(said["id"], said["home"], folder, made_at, (folder / _SEALED).stat().st_size)


def backups(home: Path) -> list[str]:
    """The ids of the backups whose keys are there, which can be restored."""
    return sorted(path.name.split(".")[1] for path in (home / "keys").glob("backup.*.key"))


def end_backup(home: Path, name: str) -> None:
    """Destroy the key of a backup: all its copies are noise from now on. Raises ``UnknownName``."""
    if name not in backups(home):
        raise UnknownName("backup", name, backups(home))
    durable.shred(_key_path(home, name))


def _make_empty(folder: Path) -> None:
    """Have an empty folder that takes files at ``folder``. Raises ``BadInput``."""
    hint = "Name a new one for each backup."
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BadInput(f"{folder} is not an empty folder.", hint=hint)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _SEALED).touch()
    except OSError as error:
        raise BadInput(f"The folder {folder} cannot take a backup: {error.strerror}.", hint=hint) from None


def _key_path(home: Path, name: str) -> Path:
    return home / "keys" / f"backup.{name}.key"


def _key(home: Path, name: str) -> bytes:
    path = _key_path(home, name)
    refuse_wide(path)
    try:
        form, named, digits = path.read_text(encoding="ascii").split()
    except (FileNotFoundError, ValueError):
        raise KeyLost(
            f"The key of the backup {name} is not in {path}.",
            hint="Put the copy of keys/ that was made with the backup into the home first.",
        ) from None
    if form != "duecare-backup-key/1" or named != name or len(digits) != 2 * KEY_SIZE:
        raise KeyLost(f"{path} is not the key of the backup {name}.", hint="Put keys/ back from its copy.")
    return bytes.fromhex(digits)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / _MANIFEST
    try:
        said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if said["format"] != FORMAT or not {"id", "home", "made_at", "database"} <= set(said):
            raise ValueError(f"its format is {said['format']!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{folder} is not a backup: {error}.", hint="Name a folder that duecare backup made.") from None
    return said


def _refuse_used(home: Path, url: URL, said: dict[str, Any]) -> None:
    if not (home / "restoring").exists():
        used = sorted(path.name for path in home.iterdir() if path.name not in _MAY_BE_THERE and path.name[0] != ".")
        used = [name for name in used if not name.endswith(".lock")]
        if used:
            raise BadInput(
                f"The home {home} has {', '.join(used[:5])}: nothing there is written over.",
                hint="Move it away, and leave keys/, log/ and home.id.",
            )
    identity = home / "home.id"
    if identity.exists() and identity.read_text().strip() != said["home"]:
        raise BadInput(
            f"The backup is of the home {said['home']}, and {home} is {identity.read_text().strip()}.",
            hint="Restore it into its own home, or into a folder that has its keys/ only.",
        )
    kind = "sqlite" if url.get_backend_name() == "sqlite" else "postgresql"
    if kind != said["database"]:
        raise BadInput(
            f"The backup is of a {said['database']} database, the setting database_url names a {kind} one.",
            hint="Set DUECARE_DATABASE_URL to an empty database of that kind.",
        )


def _files(home: Path, url: URL) -> Iterator[tuple[Path, str]]:
    """Everything that a backup holds, the checkpoint of the log before the tiles that it covers."""
    database = Path(url.database).name if url.get_backend_name() == "sqlite" and url.database else ""
    checkpoint = home / "log" / "checkpoint"
    if checkpoint.exists():
        yield checkpoint, "log/checkpoint"
    for top in sorted(home.iterdir()):
        passed_over = top.name in LEFT_OUT or top.name.startswith(".") or top.name.endswith(".lock")
        if passed_over or top.name == "restoring" or (database and top.name.startswith(database)):
            continue
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and path != checkpoint and path.name not in ("lock", "appending"):
                yield path, str(path.relative_to(home))


@contextmanager
def _dumped(home: Path, url: URL, kind: str) -> Iterator[Path]:
    """A copy of the database as one file, consistent while others write; written over when the block ends."""
    path = home / f".dump-{secrets.token_hex(4)}"
    durable.keep(path, b"")
    try:
        if kind == "sqlite":
            source, target = sqlite3.connect(str(url.database)), sqlite3.connect(path)
            with target:
                source.backup(target, pages=4096)
            source.close()
            target.close()
        else:
            _run("pg_dump", ["--format=custom", "--no-owner", f"--file={path}"], url)
        yield path
    finally:
        durable.shred(path)


def _place(staged: Path, home: Path, url: URL) -> None:
    """Put what was read into the home; the database last."""
    for path in sorted(staged.iterdir()):
        if path.name == _DATABASE or (path.name == "log" and _size(home / "log") >= _size(path)):
            continue
        target = home / path.name
        if target.is_dir():
            shutil.rmtree(target)
        path.rename(target)
    if url.get_backend_name() == "sqlite":
        target = Path(str(url.database))
        for suffix in ("-wal", "-shm"):
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        (staged / _DATABASE).rename(target)
    else:
        _refuse_tables(url)
        options = ["--no-owner", "--exit-on-error", "--single-transaction"]
        _run("pg_restore", [*options, f"--dbname={_libpq(url)}", str(staged / _DATABASE)], url)
    durable.sync(home)


def _size(log: Path) -> int:
    """The entries of the log in a folder, -1 where there is none."""
    try:
        return Checkpoint.parse(Note.parse((log / "checkpoint").read_bytes()).text).size
    except FileNotFoundError:
        return -1


def _refuse_tables(url: URL) -> None:
    engine = create_engine(url.set(drivername="postgresql+psycopg"), hide_parameters=True)
    tables = inspect(engine).get_table_names()
    engine.dispose()
    if tables:
        raise BadInput(
            f"The database {url.render_as_string()} has {len(tables)} tables: nothing there is written over.",
            hint="Set DUECARE_DATABASE_URL to an empty database.",
        )


def _run(program: str, arguments: list[str], url: URL) -> None:
    if shutil.which(program) is None:
        raise BadInput(
            f"{program} is not installed, and a backup of PostgreSQL is made with it.",
            hint="Install PostgreSQL's client programs (on Debian: postgresql-client).",
        )
    named = [] if program == "pg_restore" else [f"--dbname={_libpq(url)}"]
    secret = {"PGPASSWORD": url.password} if url.password else {}
    done = subprocess.run(
        [program, *named, *arguments], env={**os.environ, **secret}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BadInput(f"{program} failed: {done.stderr.strip()[:500]}", hint="The home was not changed.")


def _libpq(url: URL) -> str:
    """The address as PostgreSQL's own programs take it; the password goes through the environment."""
    return url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)


class _Writer(io.RawIOBase):
    """Encrypts what is written, chunk by chunk; ``finish`` marks the last one, so that a cut file is found out."""

    def __init__(self, file: IO[bytes], key: bytes) -> None:
        salt = secrets.token_bytes(_SALT)
        self._file, self._cipher = file, AESGCM(hmac.digest(key, _MAGIC + salt, "sha256"))
        self._pending, self._number = bytearray(), 0
        file.write(_MAGIC + salt)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pending += data
        while len(self._pending) > _CHUNK:
            self._seal(bytes(self._pending[:_CHUNK]), last=False)
            del self._pending[:_CHUNK]
        return len(data)

    def finish(self) -> None:
        self._seal(bytes(self._pending), last=True)

    def _seal(self, plain: bytes, *, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_NONCE.pack(self._number, last), plain, None))
        self._number += 1


class _Reader(io.RawIOBase):
    """Decrypts what a ``_Writer`` wrote. Raises ``EvidenceBroken`` where it was changed or cut short."""

    def __init__(self, file: BinaryIO, key: bytes) -> None:
        head = file.read(len(_MAGIC) + _SALT)
        if not head.startswith(_MAGIC) or len(head) < len(_MAGIC) + _SALT:
            raise EvidenceBroken("The backup is not one, or is cut short.", hint="Take another copy of it.")
        self._file, self._cipher = file, AESGCM(hmac.digest(key, head, "sha256"))
        self._plain, self._number, self._last = memoryview(b""), 0, False
        self._next = file.read(_CHUNK + _TAG)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._plain and not self._last:
            self._open()
        count = min(len(buffer), len(self._plain))
        buffer[:count] = self._plain[:count]
        self._plain = self._plain[count:]
        return count

    def _open(self) -> None:
        chunk, self._next = self._next, self._file.read(_CHUNK + _TAG)
        self._last = not self._next
        try:
            self._plain = memoryview(self._cipher.decrypt(_NONCE.pack(self._number, self._last), chunk, None))
        except InvalidTag:
            raise EvidenceBroken(
                f"The backup is damaged or cut short at byte {self._file.tell()}.", hint="Take another copy of it."
            ) from None
        self._number += 1
