"""The independent witness (C2SP tlog-witness): it cosigns a log only as far as it saw it grow.

A witness has a folder of its own, on another machine or with another organisation: its key, and a small database of
the last checkpoint that it cosigned of each log it knows. Who holds two checkpoints of one size with its cosignature
would hold a proof that the witness lied, or that its database was lost; so it signs nothing that it has not first
written down.

The rule of this module: what is cosigned has been stored, durably, before; nothing is cosigned that does not grow from
what is stored; and a witness whose store is gone cosigns no more.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from duecare.clock import Clock, SystemClock
from duecare.errors import BadInput, Busy, EvidenceBroken
from duecare.evidence import merkle
from duecare.evidence.checkpoint import Checkpoint, Note, VerifierKey, decode64, keep_pair
from duecare.evidence.cosignature import WitnessKey, WitnessSigningKey

MAX_REQUEST = 1 << 16
"""Bytes of a request; a longer one is refused unread."""

MAX_PROOF = 63
"""Hashes of a consistency proof (C2SP tlog-witness, add-checkpoint)."""

SIZE_TYPE = "text/x.tlog.size"
"""Content type of the answer that names the size which the witness cosigned last."""

_LARGEST = 2**63 - 1
_WAIT_SECONDS = 5.0
_SCHEMA = """
CREATE TABLE log_key (key TEXT PRIMARY KEY, origin TEXT NOT NULL) STRICT;
CREATE TABLE seen (
    origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, note TEXT NOT NULL, at TEXT NOT NULL
) STRICT;
CREATE TABLE contradiction (origin TEXT NOT NULL, note TEXT NOT NULL, at TEXT NOT NULL, UNIQUE (origin, note)) STRICT;
PRAGMA user_version = 1;
"""
_VERSION = 1


@dataclass(frozen=True)
class Submission:
    """A request to cosign: the size that the log believes the witness at, the proof of growth, the checkpoint."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes

    @classmethod
    def parse(cls, data: bytes) -> Submission:
        """Read the body of ``add-checkpoint``. Raises ``EvidenceBroken`` where it departs from the form."""
        head, blank, note = data.partition(b"\n\n")
        first, *lines = head.decode("ascii", "replace").split("\n")
        word, _, size = first.partition(" ")
        if not blank or word != "old" or not size.isascii() or not size.isdecimal() or len(size) > 19:
            raise EvidenceBroken("The request has no line 'old' with a size before its first blank line.")
        if str(int(size)) != size:
            raise EvidenceBroken(f"The old size {size!r} is not a plain decimal number.")
        if len(lines) > MAX_PROOF:
            raise EvidenceBroken(f"The proof has {len(lines)} hashes; at most {MAX_PROOF} are read.")
        try:
            proof = tuple(decode64(line) for line in lines)
        except ValueError:
            raise EvidenceBroken("A line of the proof is not base64.") from None
        if any(len(each) != merkle.HASH_SIZE for each in proof):
            raise EvidenceBroken(f"A hash of the proof is not {merkle.HASH_SIZE} bytes long.")
        return cls(int(size), proof, note)

    def data(self) -> bytes:
        """The body of the request."""
        lines = "".join(f"{b64encode(each).decode()}\n" for each in self.proof)
        return f"old {self.old}\n{lines}\n".encode() + self.note


@dataclass(frozen=True)
class Answer:
    """The answer to a request: an HTTP status and a body."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Known:
    """A log that the witness knows: its keys, and what was cosigned last (none yet: size 0 and no note).

    ``contradictions`` are checkpoints that the log signed for the size cosigned last with another root: each, beside
    ``note``, is a proof that the log was shown differently to different people.
    """

    origin: str
    keys: tuple[VerifierKey, ...]
    size: int
    note: str
    at: datetime | None
    contradictions: tuple[str, ...]


class Witness:
    """An open witness. Any number of processes may have it open."""

    def __init__(self, folder: Path, key: WitnessSigningKey, clock: Clock | None = None) -> None:
        self.folder, self._key, self._clock = folder, key, clock or SystemClock()
        self._mutex = threading.Lock()
        self._store = _open_store(folder / "witness.db")

    @classmethod
    def make(cls, folder: Path, name: str = "", clock: Clock | None = None) -> Witness:
        """Make a witness called ``name`` in ``folder``, or open the one that is there. Raises ``BadInput``."""
        if not (folder / "witness.key").exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if (folder / "witness.db").exists() and _has_seen(folder / "witness.db"):
                raise BadInput(f"{folder} holds what a witness saw, but its key witness.key is gone.",
                               hint="Put the key back, or make a new witness in an empty folder.")  # fmt: skip
            _make_store(folder / "witness.db")
        named = name or f"duecare-witness/{secrets.token_hex(8)}"
        keep_pair(folder, "witness", WitnessSigningKey, lambda: named)
        return cls.at(folder, clock)

    @classmethod
    def at(cls, folder: Path, clock: Clock | None = None) -> Witness:
        """The witness in ``folder``. Raises ``BadInput`` where there is none, ``EvidenceBroken`` without its store."""
        if not (folder / "witness.key").exists():
            raise BadInput(
                f"There is no witness in {folder}.", hint=f"Make one with duecare witness init --dir {folder}."
            )
        if not (folder / "witness.db").exists():
            raise EvidenceBroken(
                f"The witness in {folder} has lost witness.db, where it writes down what it saw.",
                hint="One that forgot what it cosigned must not cosign again: make a new one in another folder.",
            )
        key = keep_pair(folder, "witness", WitnessSigningKey, lambda: "never")
        return cls(folder, key, clock)

    @property
    def key(self) -> WitnessKey:
        """The public key under which the witness's cosignatures verify."""
        return self._key.verifier

    def trust(self, key: VerifierKey) -> bool:
        """Know the log ``key.name`` by ``key`` from now on; whether that is new. A log may have several keys."""
        with self._transaction() as store:
            added = store.execute("INSERT OR IGNORE INTO log_key VALUES (?, ?)", (str(key), key.name)).rowcount
        return bool(added)

    def logs(self) -> list[Known]:
        """The logs that the witness knows, in the order of their origins."""
        with self._transaction() as store:
            keys = store.execute("SELECT origin, key FROM log_key ORDER BY origin, key").fetchall()
            seen = {row[0]: row[1:] for row in store.execute("SELECT origin, size, note, at FROM seen")}
            false = store.execute("SELECT origin, note FROM contradiction ORDER BY at").fetchall()
        return [
            Known(
                origin=origin,
                keys=tuple(VerifierKey.parse(key) for each, key in keys if each == origin),
                size=seen[origin][0] if origin in seen else 0,
                note=seen[origin][1] if origin in seen else "",
                at=datetime.fromisoformat(seen[origin][2]) if origin in seen else None,
                contradictions=tuple(note for each, note in false if each == origin),
            )
            for origin in dict.fromkeys(origin for origin, _ in keys)
        ]

    def add_checkpoint(self, body: bytes) -> Answer:
        """Cosign the checkpoint in ``body`` if its log is known, signed it, and grew from what was cosigned last.

        The statuses are those of C2SP tlog-witness: 200 the cosignature, 400 not readable, 403 not signed by the log,
        404 an unknown log, 409 another size (named in the answer) or another root was cosigned, 422 no proof of growth.
        """
        try:
            submission = Submission.parse(body)
            note = Note.parse(submission.note)
            checkpoint = Checkpoint.parse(note.text)
        except EvidenceBroken as error:
            return _refuse(400, str(error))
        with self._transaction() as store:
            keys = [
                VerifierKey.parse(key)
                for (key,) in store.execute("SELECT key FROM log_key WHERE origin = ?", (checkpoint.origin,))
            ]
            # Lines of unknown keys can be added by anybody; they are not kept.
            note = Note(note.text, tuple(line for key in keys for line in note.signatures_of(key)))
            refusal = self._refusal(store, keys, submission, note, checkpoint)
            if refusal is not None:
                return refusal
            # The time is taken while nobody else can store a larger size: as of it, this one is the largest.
            at = self._clock.now()
            store.execute(
                "INSERT INTO seen VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (origin) "
                "DO UPDATE SET size = ?2, root = ?3, note = ?4, at = ?5",
                (checkpoint.origin, checkpoint.size, checkpoint.root, note.data().decode(), at.isoformat()),
            )
        return Answer(200, self._key.cosign(note.text, at).line().encode())

    def close(self) -> None:
        """Close the store."""
        with self._mutex:
            self._store.close()

    def _refusal(
        self,
        store: sqlite3.Connection,
        keys: list[VerifierKey],
        submission: Submission,
        note: Note,
        checkpoint: Checkpoint,
    ) -> Answer | None:
        """Why ``note``, stripped to the lines of ``keys``, is not cosigned; none where it is."""
        if not keys:
            return _refuse(404, f"This witness does not know the log {checkpoint.origin}.")
        if not note.signatures or not all(note.signed_by(key) for key in keys if note.signatures_of(key)):
            return _refuse(403, f"The checkpoint is not signed by a key of {checkpoint.origin} that is known here.")
        if submission.old > checkpoint.size:
            return _refuse(400, f"The old size {submission.old} is larger than the checkpoint's {checkpoint.size}.")
        if checkpoint.size > _LARGEST:
            return _refuse(400, f"The size {checkpoint.size} is larger than any that is stored here.")
        row = store.execute("SELECT size, root FROM seen WHERE origin = ?", (checkpoint.origin,)).fetchone()
        size, root = row or (0, merkle.EMPTY_ROOT)
        if submission.old != size:
            return Answer(409, f"{size}\n".encode(), SIZE_TYPE)
        if checkpoint.size == size and size and not submission.proof and checkpoint.root != root:
            store.execute(
                "INSERT OR IGNORE INTO contradiction VALUES (?, ?, ?)",
                (checkpoint.origin, note.data().decode(), self._clock.now().isoformat()),
            )
            return _refuse(409, f"Another root was cosigned for the size {size}.")
        if not merkle.verify_consistency(size, checkpoint.size, submission.proof, root, checkpoint.root):
            return _refuse(422, f"The proof does not show that the log grew from {size} to {checkpoint.size} entries.")
        return None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Alone in the store, over threads and processes; what is written is on disk when the block ends.

        Raises ``Busy`` where the store is held by another or cannot be written now; then nothing was.
        """
        with self._mutex:
            try:
                self._store.execute("BEGIN IMMEDIATE")
                yield self._store
                self._store.execute("COMMIT")
            except sqlite3.OperationalError as error:
                raise Busy(f"The store of the witness {self.folder} cannot be written now: {error}.") from None
            finally:
                if self._store.in_transaction:
                    self._store.execute("ROLLBACK")


def _refuse(status: int, why: str) -> Answer:
    return Answer(status, f"{why}\n".encode())


def _open_store(path: Path) -> sqlite3.Connection:
    """The store at ``path``. Raises ``EvidenceBroken`` where the file is not one."""
    # SQLite's own threads check is off because the mutex of the witness stands in its place.
    store = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("PRAGMA synchronous = FULL")
        version = store.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.OperationalError as error:
        store.close()
        raise Busy(f"The store {path} cannot be opened now: {error}.") from None
    except sqlite3.DatabaseError:
        version = None
    if version != _VERSION:
        store.close()
        raise EvidenceBroken(
            f"{path} is not the store of a witness.",
            hint="One that forgot what it cosigned must not cosign again: make a new one in another folder.",
        )
    return store


def _make_store(path: Path) -> None:
    """An empty store, there as a whole or not at all."""
    if path.exists():
        return
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    store = sqlite3.connect(partial, isolation_level=None)
    store.executescript(_SCHEMA)
    store.close()
    partial.chmod(0o600)
    partial.rename(path)


def _has_seen(path: Path) -> bool:
    store = sqlite3.connect(path)
    try:
        return bool(store.execute("SELECT count(*) FROM seen").fetchone()[0])
    finally:
        store.close()
