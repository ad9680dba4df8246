"""Exports: a person's own copy of what is held of them (PIPL art. 45), as a file that expires.

It is the one place where plaintext rests. A manifest beside it, without values, says whose it is, what is in it and
until when, so that an erasure takes it away too.

The rule of this module: an export is written over and removed with the first of its purposes that is erased, and at the
latest when it expires. One that an erasure overtook while it was written is not handed over.
"""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from duecare.clock import SystemClock, utc
from duecare.consent.subjects import subject as known_subject
from duecare.errors import Erased, NotGranted
from duecare.store import durable
from duecare.store.database import parts
from duecare.vault.models import KeyState, VaultKey, VaultWrap, in_state
from duecare.vault.openings import open_many
from duecare.vault.places import Erasing

if TYPE_CHECKING:
    from duecare.vault.records import Vault

FORMAT = "duecare-export/1"
KEPT_DAYS = 7
"""Days after which an export is removed."""

_MANIFEST = ".manifest.json"
_WRITING_SECONDS = 3600


@dataclass(frozen=True)
class Manifest:
    """What an export is, without its values. ``file``: its name in the folder; ``sha256``: of the file, in hex."""

    file: str
    subject: str
    purposes: tuple[str, ...]
    made_at: datetime
    expires_at: datetime
    sha256: str

    def as_json(self) -> dict[str, Any]:
        """The manifest as JSON values."""
        times = {"made_at": self.made_at.isoformat(), "expires_at": self.expires_at.isoformat()}
        return {**self.__dict__, "purposes": list(self.purposes), **times}


@dataclass(frozen=True)
class _Copy:
    """A copy before anything of it is written. ``keys``: those that opened what is in it."""

    data: bytes
    purposes: tuple[str, ...]
    keys: tuple[str, ...]
    made_at: datetime


def copy(vault: Vault, subject: str, actor: str) -> bytes:
    """A person's own copy, handed to them and written nowhere.

    Each purpose is opened through the door, with evidence. What is only kept for a legal hold is not in it. Call it
    outside of any transaction. Raises ``UnknownName``, ``NotGranted`` where nothing is held that may be opened.
    """
    return _copy(vault, subject, actor).data


def export(vault: Vault, subject: str, actor: str, *, days: int = KEPT_DAYS) -> Path:
    """Write a person's own copy (``copy``) to ``exports/`` (mode 0600), for ``days``; returns the file.

    Raises also ``Erased`` where something of it was erased meanwhile: then no file is left.
    """
    made = _copy(vault, subject, actor)
    name, folder = f"{secrets.token_hex(8)}.json", _folder(vault)
    expires = made.made_at + timedelta(days=days)
    manifest = Manifest(name, subject, made.purposes, made.made_at, expires, sha256(made.data).hexdigest())
    folder.mkdir(mode=0o700, exist_ok=True)
    # The manifest first: a file that a kill leaves without its manifest would be found by no erasure.
    durable.keep(folder / f"{name}{_MANIFEST}", json.dumps(manifest.as_json()).encode())
    durable.keep(folder / name, made.data)
    _check_keys(vault, manifest, made.keys)
    return folder / name


def exports(vault: Vault, subject: str | None = None) -> list[Manifest]:
    """The exports that are there, of one subject or of all."""
    return sorted(
        (each for each in _manifests(_folder(vault)) if subject in (None, each.subject)), key=lambda each: each.made_at
    )


def remove_expired(vault: Vault, at: datetime) -> int:
    """Remove the exports that have expired; returns how many."""
    gone = [each for each in exports(vault) if each.expires_at <= utc(at)]
    for each in gone:
        _remove(_folder(vault), each)
    return len(gone)


def remove_erased(vault: Vault) -> int:
    """Remove the exports that hold something whose key is erased, and files without a manifest; returns how many.

    An export that was killed before it looked at its keys may have left them after the erasure had passed by.
    """
    folder, found = _folder(vault), exports(vault)
    since: dict[tuple[str, str], datetime] = {}
    live = select(VaultKey.subject, VaultKey.purpose, VaultKey.made_at).where(in_state(VaultKey, KeyState.LIVE))
    with vault.database.session() as session:
        for part in parts(sorted({each.subject for each in found})):
            for row in session.execute(live.where(VaultKey.subject.in_(part))):
                since[row.subject, row.purpose] = row.made_at
    gone = [each for each in found if any(_is_gone(each, purpose, since) for purpose in each.purposes)]
    for each in gone:
        _remove(folder, each)
    # A file that an export is writing just now has its manifest already, or lost it to an erasure a moment ago.
    before = SystemClock().now().timestamp() - _WRITING_SECONDS
    named = {f"{each.file}{end}" for each in found for end in ("", _MANIFEST)}
    left = [path for path in folder.glob("*.json") if path.name not in named and path.stat().st_mtime < before]
    for path in left:
        durable.shred(path)
    return len(gone) + len(left)


def _copy(vault: Vault, subject: str, actor: str) -> _Copy:
    fields, keys = dict[str, list[str]](), dict[str, str]()
    with vault.database.session() as session:
        known_subject(session, subject)
        asked = select(VaultKey.purpose, VaultKey.id, VaultWrap.field).join(VaultWrap, VaultWrap.key_id == VaultKey.id)
        for row in session.execute(asked.where(VaultKey.subject == subject, in_state(VaultKey, KeyState.LIVE))):
            fields.setdefault(row.purpose, []).append(row.field)
            keys[row.purpose] = row.id
    at, data = vault.clock.now(), dict[str, dict[str, Any]]()
    for purpose, names in sorted(fields.items()):
        with suppress(NotGranted):
            opened = open_many(vault, sorted(names), [subject], purpose, actor, "a copy for the person", "export")
            data[purpose] = {field: _plain(value) for _, field, value in opened.rows}
    if not any(data.values()):
        raise NotGranted(f"Nothing of the subject {subject} may be opened.", hint="duecare held SUBJECT lists what is.")
    document = {"format": FORMAT, "subject": subject, "made_at": at.isoformat(), "data": data}
    written = json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"
    return _Copy(written, tuple(data), tuple(keys[purpose] for purpose in data), at)


def _is_gone(manifest: Manifest, purpose: str, since: Mapping[tuple[str, str], datetime]) -> bool:
    """Whether no key is live for ``purpose`` that was there when the export was made."""
    made = since.get((manifest.subject, purpose))
    return made is None or made > manifest.made_at


def _check_keys(vault: Vault, manifest: Manifest, keys: Sequence[str]) -> None:
    """Remove the export again where one of ``keys`` is not live any more, and raise ``Erased``.

    The file is there by now: an erasure that begins later than this looks finds it and takes it away itself.
    """
    with vault.database.session() as session:
        live = select(VaultKey.id).where(VaultKey.id.in_(keys), in_state(VaultKey, KeyState.LIVE))
        standing = set(session.scalars(live))
    if standing >= {*keys}:
        return
    _remove(_folder(vault), manifest)
    raise Erased(
        f"Something of the subject {manifest.subject} was erased while the copy was written; no copy was kept.",
        hint="Ask again for a copy of what is left.",
    )


@dataclass(frozen=True)
class Exports:
    """The place of the exports: those that hold something of the purpose that is erased."""

    name: str = "exports"
    in_database: bool = False

    def count(self, erasing: Erasing, session: Session | None) -> Mapping[str, int]:
        return Counter(each.subject for each in self._found(erasing))

    def erase(self, erasing: Erasing, session: Session | None) -> None:
        for each in self._found(erasing):
            _remove(erasing.home.path / "exports", each)

    def _found(self, erasing: Erasing) -> list[Manifest]:
        subjects = {*erasing.subjects}
        mine = (each for each in _manifests(erasing.home.path / "exports") if each.subject in subjects)
        return [each for each in mine if erasing.purpose in each.purposes]


def _folder(vault: Vault) -> Path:
    return vault.home.path / "exports"


def _manifests(folder: Path) -> Iterator[Manifest]:
    for path in folder.glob(f"*{_MANIFEST}"):
        with suppress(FileNotFoundError):
            said = json.loads(path.read_text(encoding="utf-8"))
            times = {name: datetime.fromisoformat(said[name]) for name in ("made_at", "expires_at")}
            yield Manifest(**{**said, **times, "purposes": tuple(said["purposes"])})


def _remove(folder: Path, manifest: Manifest) -> None:
    for left in (folder / manifest.file, *durable.partials(folder / manifest.file)):
        durable.shred(left)
    (folder / f"{manifest.file}{_MANIFEST}").unlink(missing_ok=True)
    durable.sync(folder)


def _plain(value: str | bytes) -> str:
    return value if isinstance(value, str) else b64encode(value).decode()
