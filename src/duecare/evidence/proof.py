"""The proof file: one entry of the log with everything an outsider needs to check it, offline, in one JSON document.

docs/reference/evidence.md states the format in words exact enough to verify it in another language.

The rule of this module: a proof is of one entry under one checkpoint; what is not in the file is not assumed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import rfc8785

from duecare.errors import BadInput, EvidenceBroken
from duecare.evidence import merkle
from duecare.evidence.check import Check, answer
from duecare.evidence.checkpoint import Checkpoint, VerifierKey, open_checkpoint
from duecare.evidence.contents import Content, parse_content, verify_content
from duecare.evidence.cosignature import WitnessKey
from duecare.evidence.document import (
    FIELDS,
    Included,
    document_bytes,
    encode_hashes,
    entry_place,
    included,
    parse_document,
    parse_hashes,
    parse_note,
    verify_included,
)
from duecare.evidence.log import Log
from duecare.store.database import Database

FORMAT = "duecare-proof/1"


@dataclass(frozen=True)
class Older:
    """A checkpoint noted earlier, and the proof that the log grew from it."""

    checkpoint: bytes
    consistency: tuple[bytes, ...]


@dataclass(frozen=True)
class Proof(Included):
    """What a proof file says, read but not yet believed. Hashes are 32 bytes; checkpoints are signed notes."""

    older: Older | None = None
    content: Content | None = None


def bundle(
    database: Database,
    log: Log,
    entry_id: int,
    older: bytes | None = None,
    note: bytes | None = None,
    content: Content | None = None,
) -> dict[str, Any]:
    """The proof of entry ``entry_id`` under the log's present checkpoint; with ``older``, also of growth since that;
    with ``content``, also of one of the texts that the entry stands for.

    ``note`` is the checkpoint to prove under instead, such as one that witnesses cosigned, of at least that size.
    Raises ``UnknownName`` where there is no such entry, ``BadInput`` where it is not in the log yet or ``older`` is
    newer than the log, ``EvidenceBroken`` where the log holds something else in its place.
    """
    index, expected = entry_place(database, entry_id)
    note = note or log.note()
    document: dict[str, Any] = {"format": FORMAT, **included(log, index, expected, note)}
    if older is not None:
        size, then = open_checkpoint(note, log.key).size, open_checkpoint(older, log.key)
        if then.size > size:
            raise BadInput(f"The older checkpoint has {then.size} entries, the log only {size}.")
        consistency = encode_hashes(log.consistency(then.size, size))
        document["older"] = {"checkpoint": older.decode(), "consistency": consistency}
    if content is not None:
        document["content"] = content.as_json()
    return document


def proof_bytes(document: Mapping[str, Any]) -> bytes:
    """The proof file of ``document``: canonical JSON (RFC 8785) and one newline."""
    return document_bytes(document)


def parse_proof(data: bytes) -> Proof:
    """Read a proof file. Raises ``EvidenceBroken`` saying where it departs from the form."""
    document, found = parse_document(data, FORMAT, FIELDS, "older", "content")
    older = document.get("older")
    if "older" in document and (not isinstance(older, dict) or set(older) != {"checkpoint", "consistency"}):
        raise EvidenceBroken("The older checkpoint has not exactly the fields checkpoint, consistency.")
    return Proof(
        leaf=found.leaf,
        index=found.index,
        inclusion=found.inclusion,
        checkpoint=found.checkpoint,
        older=Older(parse_note(older["checkpoint"]), parse_hashes(older["consistency"], "consistency"))
        if older
        else None,
        content=parse_content(document["content"]) if "content" in document else None,
    )


def verify_bundle(
    document: bytes | Mapping[str, Any], public_key: VerifierKey, witnesses: Sequence[WitnessKey] | None = None
) -> list[Check]:
    """Check a proof file (or the document in it) with nothing but the log's public key.

    The checks are ``form``, ``signature``, ``inclusion`` and, with a text, ``content``; with an older checkpoint,
    ``growth``; with ``witnesses`` also ``cosignature``. A broken form ends them.
    """
    try:
        proof = parse_proof(document if isinstance(document, bytes) else proof_bytes(document))
    except (EvidenceBroken, rfc8785.CanonicalizationError) as error:
        return [answer("form", False, error)]
    checks, checkpoint = verify_included(proof, public_key, witnesses)
    if proof.content is not None:
        checks.append(verify_content(proof.content, proof.entry["body"]))
    if proof.older is not None and checkpoint is not None:
        checks.append(verify_growth(proof.older.checkpoint, checkpoint, proof.older.consistency, public_key))
    return [answer("form", True, FORMAT), *checks]


def verify_growth(older: bytes, newer: Checkpoint, consistency: Sequence[bytes], public_key: VerifierKey) -> Check:
    """Whether ``newer`` (believed already) grew from the signed checkpoint ``older``: the check ``growth``."""
    try:
        then = open_checkpoint(older, public_key)
    except EvidenceBroken as error:
        return answer("growth", False, error)
    grown = merkle.verify_consistency(then.size, newer.size, consistency, then.root, newer.root)
    return answer("growth", grown, f"from {then.size} to {newer.size} entries")
