"""The proof file: one entry of the log with everything an outsider needs to check it, offline, in one JSON document.

docs/reference/evidence.md states the format in words exact enough to verify it in another language.

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
from duecare.evidence.checkpoint import Checkpoint, VerifierKey, decode64, open_checkpoint
from duecare.evidence.log import Log
from duecare.evidence.outbox import EvidenceEntry, leaf
from duecare.store.database import Database

FORMAT = "duecare-proof/1"
MAX_PROOF = 1 << 20
"""Bytes; a longer file is refused unread."""

_FIELDS = {"checkpoint", "format", "inclusion", "index", "leaf"}
_ENTRY_FIELDS = {"at", "body", "id", "kind", "subject"}


@dataclass(frozen=True)
class Older:
    """A checkpoint noted earlier, and the proof that the log grew from it."""

    checkpoint: bytes
    consistency: tuple[bytes, ...]


@dataclass(frozen=True)
class Proof:
    """What a proof file says, read but not yet believed. Hashes are 32 bytes; checkpoints are signed notes."""

    leaf: bytes
    index: int
    inclusion: tuple[bytes, ...]
    checkpoint: bytes
    older: Older | None = None

    @property
    def entry(self) -> dict[str, Any]:
        """The entry as JSON values: ``at, body, id, kind, subject``."""
        entry: dict[str, Any] = json.loads(self.leaf)
        return entry


def bundle(database: Database, log: Log, entry_id: int, older: bytes | None = None) -> dict[str, Any]:
    """The proof of entry ``entry_id`` under the log's present checkpoint; with ``older``, also of growth since that.

    Raises ``UnknownName`` where there is no such entry, ``BadInput`` where it is not in the log yet or ``older`` is
    newer than the log, ``EvidenceBroken`` where the log holds something else in its place.
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
    note = log.note()
    size = open_checkpoint(note, log.key).size
    held = log.entry(entry.leaf_index, size)
    if held != leaf(entry.id, entry.kind, entry.subject, entry.at, entry.body):
        raise EvidenceBroken(
            f"Entry {entry_id} in the database is not what the log holds at {entry.leaf_index}.",
            hint="Run duecare verify --all to see which of the two was changed.",
        )
    document: dict[str, Any] = {
        "format": FORMAT,
        "leaf": held.decode(),
        "index": entry.leaf_index,
        "inclusion": _encode(log.inclusion(entry.leaf_index, size)),
        "checkpoint": note.decode(),
    }
    if older is not None:
        then = open_checkpoint(older, log.key)
        if then.size > size:
            raise BadInput(f"The older checkpoint has {then.size} entries, the log only {size}.")
        document["older"] = {"checkpoint": older.decode(), "consistency": _encode(log.consistency(then.size, size))}
    return document


def proof_bytes(document: Mapping[str, Any]) -> bytes:
    """The proof file of ``document``: canonical JSON (RFC 8785) and one newline."""
    return rfc8785.dumps(dict(document)) + b"\n"


def parse_proof(data: bytes) -> Proof:
    """Read a proof file. Raises ``EvidenceBroken`` saying where it departs from the form."""
    if len(data) > MAX_PROOF:
        raise EvidenceBroken(f"The file is {len(data)} bytes long; a proof has at most {MAX_PROOF}.")
    document = _canonical(data.removesuffix(b"\n"), "file")
    if not data.endswith(b"\n"):
        raise EvidenceBroken("The file does not end in a newline: it was cut short.")
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise EvidenceBroken(f"The file does not say that its format is {FORMAT}.")
    if set(document) - {"older"} != _FIELDS:
        wrong = sorted(set(document) - {"older"} ^ _FIELDS)
        raise EvidenceBroken(f"The file lacks or has too much: {', '.join(wrong)}.")
    text, index, older = document["leaf"], document["index"], document.get("older")
    if not isinstance(text, str) or type(index) is not int or index < 0:
        raise EvidenceBroken("The leaf is not text, or the index is not a whole number from 0.")
    entry = _canonical(text.encode(), "leaf")
    if not isinstance(entry, dict) or set(entry) != _ENTRY_FIELDS:
        raise EvidenceBroken(f"The leaf has not exactly the fields {', '.join(sorted(_ENTRY_FIELDS))}.")
    if "older" in document and (not isinstance(older, dict) or set(older) != {"checkpoint", "consistency"}):
        raise EvidenceBroken("The older checkpoint has not exactly the fields checkpoint, consistency.")
    return Proof(
        leaf=text.encode(),
        index=index,
        inclusion=_hashes(document["inclusion"], "inclusion"),
        checkpoint=_note(document["checkpoint"]),
        older=Older(_note(older["checkpoint"]), _hashes(older["consistency"], "consistency")) if older else None,
    )


def verify_bundle(document: bytes | Mapping[str, Any], public_key: VerifierKey) -> list[Check]:
    """Check a proof file (or the document in it) with nothing but the log's public key.

    The checks are ``form``, ``signature``, ``inclusion`` and, with an older checkpoint, ``growth``. A broken form ends
    them; under a checkpoint that is not genuine nothing counts as included.
    """
    try:
        proof = parse_proof(document if isinstance(document, bytes) else proof_bytes(document))
    except (EvidenceBroken, rfc8785.CanonicalizationError) as error:
        return [answer("form", False, error)]
    checks = [answer("form", True, FORMAT)]
    checkpoint = _opened(proof.checkpoint, public_key, checks)
    if checkpoint is None:
        return [*checks, answer("inclusion", False, "not checked: the checkpoint is not genuine")]
    checks.append(answer("signature", True, f"{checkpoint.origin}, {checkpoint.size} entries"))
    included = merkle.verify_inclusion(
        merkle.leaf_hash(proof.leaf), proof.index, checkpoint.size, proof.inclusion, checkpoint.root
    )
    checks.append(answer("inclusion", included, f"entry {proof.index} of {checkpoint.size}"))
    if proof.older is not None:
        checks.append(verify_growth(proof.older.checkpoint, checkpoint, proof.older.consistency, public_key))
    return checks


def verify_growth(older: bytes, newer: Checkpoint, consistency: Sequence[bytes], public_key: VerifierKey) -> Check:
    """Whether ``newer`` (believed already) grew from the signed checkpoint ``older``: the check ``growth``."""
    try:
        then = open_checkpoint(older, public_key)
    except EvidenceBroken as error:
        return answer("growth", False, error)
    grown = merkle.verify_consistency(then.size, newer.size, consistency, then.root, newer.root)
    return answer("growth", grown, f"from {then.size} to {newer.size} entries")


def _opened(note: bytes, key: VerifierKey, checks: list[Check]) -> Checkpoint | None:
    try:
        return open_checkpoint(note, key)
    except EvidenceBroken as error:
        checks.append(answer("signature", False, error))
        return None


def _canonical(data: bytes, what: str) -> Any:
    try:
        value = json.loads(data)
        same = rfc8785.dumps(value) == data
    except (ValueError, RecursionError) as error:
        raise EvidenceBroken(f"The {what} is not JSON: {error}.") from None
    if not same:
        raise EvidenceBroken(f"The {what} is not in canonical form (RFC 8785).")
    return value


def _encode(hashes: Sequence[bytes]) -> list[str]:
    return [b64encode(each).decode() for each in hashes]


def _hashes(value: Any, what: str) -> tuple[bytes, ...]:
    try:
        hashes = tuple(decode64(each) for each in value)
    except (ValueError, AttributeError, TypeError):
        hashes = (b"",)
    if not isinstance(value, list) or any(len(each) != merkle.HASH_SIZE for each in hashes):
        raise EvidenceBroken(f"The {what} proof is not a list of 32-byte hashes in base64.")
    return hashes


def _note(value: Any) -> bytes:
    if not isinstance(value, str):
        raise EvidenceBroken("A checkpoint is not text.")
    return value.encode()
