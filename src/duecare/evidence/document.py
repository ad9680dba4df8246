"""What the files that prove an entry have in common: a JSON document of the entry, its place, and a checkpoint.

A proof file and an erasure certificate are such documents, with more in them.

The rule of this module: a file that is not byte for byte in its canonical form proves nothing.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import rfc8785

from duecare.errors import BadInput, EvidenceBroken, UnknownName
from duecare.evidence import merkle
from duecare.evidence.check import Check, answer
from duecare.evidence.checkpoint import Checkpoint, Note, VerifierKey, decode64, open_checkpoint
from duecare.evidence.cosignature import WitnessKey, cosignatures
from duecare.evidence.log import Log
from duecare.evidence.outbox import EvidenceEntry, leaf
from duecare.store.database import Database

MAX_DOCUMENT = 1 << 20
"""Bytes; a longer file is refused unread."""

FIELDS = frozenset({"checkpoint", "format", "inclusion", "index", "leaf"})
"""The members that every such document has."""

_ENTRY_FIELDS = {"at", "body", "id", "kind", "subject"}


@dataclass(frozen=True)
class Included:
    """An entry and what shows it to be in the log, read but not yet believed. Hashes are 32 bytes."""

    leaf: bytes
    index: int
    inclusion: tuple[bytes, ...]
    checkpoint: bytes

    @property
    def entry(self) -> dict[str, Any]:
        """The entry as JSON values: ``at, body, id, kind, subject``."""
        entry: dict[str, Any] = json.loads(self.leaf)
        return entry


def entry_place(database: Database, entry_id: int) -> tuple[int, bytes]:
    """Where entry ``entry_id`` stands in the log, and the leaf that must stand there.

    Raises ``UnknownName`` where there is no such entry, ``BadInput`` where it is not in the log yet.
    """
    with database.session() as session:
        entry = session.get(EvidenceEntry, entry_id)
    if entry is None:
        raise UnknownName("evidence entry", str(entry_id), [])
    if entry.leaf_index is None:
        raise BadInput(
            f"Entry {entry_id} is recorded, but not in the log yet.",
            hint="Run duecare proof, which puts it there first.",
        )
    return entry.leaf_index, leaf(entry.id, entry.kind, entry.subject, entry.at, entry.body)


def included(log: Log, index: int, expected: bytes, note: bytes) -> dict[str, Any]:
    """The members that show ``expected`` to be entry ``index`` of ``log`` under its checkpoint ``note``.

    Raises ``EvidenceBroken`` where the log holds something else in its place.
    """
    size = open_checkpoint(note, log.key).size
    held = log.entry(index, size)
    if held != expected:
        number = json.loads(expected)["id"]
        raise EvidenceBroken(
            f"Entry {number} in the database is not what the log holds at {index}.",
            hint="Run duecare verify --all to see which of the two was changed.",
        )
    return {
        "leaf": held.decode(),
        "index": index,
        "inclusion": encode_hashes(log.inclusion(index, size)),
        "checkpoint": note.decode(),
    }


def document_bytes(document: Mapping[str, Any]) -> bytes:
    """The file of ``document``: canonical JSON (RFC 8785) and one newline."""
    return rfc8785.dumps(dict(document)) + b"\n"


def parse_document(data: bytes, form: str, fields: frozenset[str], *optional: str) -> tuple[dict[str, Any], Included]:
    """Read a file of the format ``form``, whose members are ``fields`` and, if it likes, any of ``optional``.

    Raises ``EvidenceBroken`` saying where it departs from the form.
    """
    if len(data) > MAX_DOCUMENT:
        raise EvidenceBroken(f"The file is {len(data)} bytes long; at most {MAX_DOCUMENT} are read.")
    document = canonical(data.removesuffix(b"\n"), "file")
    if not data.endswith(b"\n"):
        raise EvidenceBroken("The file does not end in a newline: it was cut short.")
    if not isinstance(document, dict) or document.get("format") != form:
        raise EvidenceBroken(f"The file does not say that its format is {form}.")
    if set(document) - set(optional) != fields:
        wrong = sorted(set(document) - set(optional) ^ fields)
        raise EvidenceBroken(f"The file lacks or has too much: {', '.join(wrong)}.")
    text, index = document["leaf"], document["index"]
    if not isinstance(text, str) or type(index) is not int or index < 0:
        raise EvidenceBroken("The leaf is not text, or the index is not a whole number from 0.")
    entry = canonical(text.encode(), "leaf")
    if not isinstance(entry, dict) or set(entry) != _ENTRY_FIELDS:
        raise EvidenceBroken(f"The leaf has not exactly the fields {', '.join(sorted(_ENTRY_FIELDS))}.")
    return document, Included(
        leaf=text.encode(),
        index=index,
        inclusion=parse_hashes(document["inclusion"], "inclusion"),
        checkpoint=parse_note(document["checkpoint"]),
    )


def verify_included(
    found: Included, key: VerifierKey, witnesses: Sequence[WitnessKey] | None = None
) -> tuple[list[Check], Checkpoint | None]:
    """The checks ``signature``, ``cosignature`` (with ``witnesses``) and ``inclusion``, and the checkpoint if genuine.

    Under a checkpoint that is not genuine nothing counts as included.
    """
    checks: list[Check] = []
    checkpoint: Checkpoint | None = None
    try:
        checkpoint = open_checkpoint(found.checkpoint, key)
        checks.append(answer("signature", True, f"{checkpoint.origin}, {checkpoint.size} entries"))
    except EvidenceBroken as error:
        checks.append(answer("signature", False, error))
    if witnesses is not None:
        checks.append(verify_cosigned(found.checkpoint, witnesses))
    if checkpoint is None:
        checks.append(answer("inclusion", False, "not checked: the checkpoint is not genuine"))
        return checks, None
    is_in = merkle.verify_inclusion(
        merkle.leaf_hash(found.leaf), found.index, checkpoint.size, found.inclusion, checkpoint.root
    )
    checks.append(answer("inclusion", is_in, f"entry {found.index} of {checkpoint.size}"))
    return checks, checkpoint


def verify_cosigned(data: bytes, witnesses: Sequence[WitnessKey]) -> Check:
    """Whether every one of ``witnesses`` cosigned the note ``data``: the check ``cosignature``. None is none."""
    if not witnesses:
        return answer("cosignature", False, "not checked: no public key of a witness was given (--witness FILE)")
    try:
        note = Note.parse(data)
    except EvidenceBroken as error:
        return answer("cosignature", False, error)
    found = cosignatures(note, witnesses)
    missing = [each for each in witnesses if each not in [one.witness for one in found]]
    if missing:
        return answer("cosignature", False, f"not cosigned by {', '.join(str(each) for each in missing)}")
    return answer("cosignature", True, ", ".join(f"{one.witness.name} at {one.at}" for one in found))


def format_of(data: bytes) -> str:
    """What format the file ``data`` says it has; empty where it says none. Nothing else of it is looked at."""
    try:
        value = json.loads(data[:MAX_DOCUMENT])
    except (ValueError, RecursionError):
        return ""
    found = value.get("format") if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def canonical(data: bytes, what: str) -> Any:
    """The JSON value of ``data``. Raises ``EvidenceBroken`` unless it is in canonical form (RFC 8785)."""
    try:
        value = json.loads(data)
        same = rfc8785.dumps(value) == data
    except (ValueError, RecursionError) as error:
        raise EvidenceBroken(f"The {what} is not JSON: {error}.") from None
    if not same:
        raise EvidenceBroken(f"The {what} is not in canonical form (RFC 8785).")
    return value


def encode_hashes(hashes: Sequence[bytes]) -> list[str]:
    """Hashes in base64."""
    return [b64encode(each).decode() for each in hashes]


def parse_hashes(value: Any, what: str) -> tuple[bytes, ...]:
    """Hashes from a list of base64. Raises ``EvidenceBroken``."""
    try:
        hashes = tuple(decode64(each) for each in value)
    except (ValueError, AttributeError, TypeError):
        hashes = (b"",)
    if not isinstance(value, list) or any(len(each) != merkle.HASH_SIZE for each in hashes):
        raise EvidenceBroken(f"The {what} proof is not a list of 32-byte hashes in base64.")
    return hashes


def parse_note(value: Any) -> bytes:
    """A signed note from text. Raises ``EvidenceBroken``."""
    if not isinstance(value, str):
        raise EvidenceBroken("A checkpoint is not text.")
    return value.encode()
