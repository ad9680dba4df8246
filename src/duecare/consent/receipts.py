"""Receipts: the copy of a grant that the person takes away, and that anyone can check offline.

The SHA-256 of a receipt stands in the log entry of the grant. The file of a receipt carries that entry and its place in
the signed log and, once the grant has ended, the entry of its end too. docs/reference/receipt.md states the format in
words exact enough to verify it in another language.

The rule of this module: a receipt that is not, byte for byte, what was logged when the grant was given is not issued.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, cast

import rfc8785
from sqlalchemy import select
from sqlalchemy.orm import Session

from duecare.consent.models import GrantRow
from duecare.consent.notices import version as notice_version
from duecare.consent.purposes import purpose as declared
from duecare.consent.records import content
from duecare.consent.subjects import subject
from duecare.errors import EvidenceBroken, UnknownName
from duecare.evidence.check import Check, all_hold, answer
from duecare.evidence.checkpoint import VerifierKey
from duecare.evidence.commitment import opens
from duecare.evidence.cosignature import WitnessKey
from duecare.evidence.document import (
    FIELDS,
    Included,
    canonical,
    document_bytes,
    entry_place,
    included,
    parse_document,
    parse_hashes,
    verify_included,
)
from duecare.evidence.log import Log
from duecare.evidence.outbox import EvidenceEntry
from duecare.store.database import Database

FORMAT = "duecare-receipt/1"

_MEMBERS = FIELDS | {"ended", "holder", "receipt"}
_GRANT = re.compile(r"grant:([1-9][0-9]{0,15})")


@dataclass(frozen=True)
class Receipt(Included):
    """What the file of a receipt says, read but not yet believed; ``holder`` is the subject and its salt (32 bytes)."""

    receipt: Mapping[str, Any]
    ended: Included | None
    holder: tuple[str, bytes] | None


def receipt(session: Session, grant_id: int) -> dict[str, Any]:
    """The receipt of a grant, as JSON-LD.

    Raises ``UnknownName``, ``EvidenceBroken`` where the database now says otherwise than what was logged.
    """
    row = session.get(GrantRow, grant_id)
    if row is None:
        raise UnknownName("grant", str(grant_id), [])
    body = json.loads(_given(session, grant_id).body)
    purpose = declared(session, row.purpose, number=row.purpose_version)
    made = content(row, purpose, notice_version(session, row.notice, row.notice_version), body["subject"])
    if digest(made) != body["receipt"]:
        raise EvidenceBroken(
            f"The receipt of grant {grant_id} is not the one that was logged.",
            hint="The database was changed behind our back. Run duecare verify --all.",
        )
    return made


def digest(made: Mapping[str, Any]) -> str:
    """The SHA-256 (64 hex digits) of the canonical JSON of a receipt."""
    return sha256(rfc8785.dumps(dict(made))).hexdigest()


def build(database: Database, log: Log, grant_id: int) -> dict[str, Any]:
    """The document to hand out: the receipt, the log entry that it is bound to, and its place.

    With the entry of the end, where the grant has ended; and for its holder, what opens the commitment. Call it outside
    of any transaction, after ``sequence``. Raises ``UnknownName``, ``BadInput`` where an entry is not in the log yet,
    ``EvidenceBroken``.
    """
    with database.session() as session:
        made = receipt(session, grant_id)
        row = cast("GrantRow", session.get(GrantRow, grant_id))
        person = subject(session, row.subject)
        given, over = _given(session, grant_id).id, _over(session, row)
    note = log.note()
    ended = None
    if over is not None:
        ended = included(log, *entry_place(database, over), note)
        del ended["checkpoint"]
    return {
        "format": FORMAT,
        "receipt": made,
        **included(log, *entry_place(database, given), note),
        "ended": ended,
        "holder": {"salt": person.salt, "subject": person.id} if person.salt else None,
    }


def receipt_bytes(document: Mapping[str, Any]) -> bytes:
    """The file of a receipt: canonical JSON (RFC 8785) and one newline."""
    return document_bytes(document)


def verify_receipt(
    document: bytes | Mapping[str, Any], public_key: VerifierKey, witnesses: Sequence[WitnessKey] | None = None
) -> list[Check]:
    """Check the file of a receipt (or the document in it) with nothing but the log's public key.

    The checks are ``form``, ``signature``, ``inclusion`` and ``receipt``; with ``witnesses`` also ``cosignature``, with
    the holder's salt ``openings``, and with the entry of an end ``ended``. A broken form ends them.
    """
    try:
        found = parse_receipt(document if isinstance(document, bytes) else receipt_bytes(document))
    except (EvidenceBroken, rfc8785.CanonicalizationError) as error:
        return [answer("form", False, error)]
    checks, checkpoint = verify_included(found, public_key, witnesses)
    entry = found.entry
    bound = entry["kind"] == "grant:give" and _of(entry["body"], "receipt") == digest(found.receipt)
    checks.append(answer("receipt", bound, entry["subject"] if bound else "the entry is not of this receipt"))
    if found.holder is not None:
        person, salt = found.holder
        checks.append(answer("openings", opens(str(_of(entry["body"], "subject")), salt, person), person))
    if found.ended is not None:
        over = found.ended.entry
        held = checkpoint is not None and all_hold(verify_included(found.ended, public_key)[0])
        ends = held and ends_grant(over, entry)
        checks.append(answer("ended", ends, over["at"] if ends else "the entry does not end this grant"))
    return [answer("form", True, FORMAT), *checks]


def parse_receipt(data: bytes) -> Receipt:
    """Read the file of a receipt. Raises ``EvidenceBroken`` saying where it departs from the form."""
    said, found = parse_document(data, FORMAT, _MEMBERS)
    if not isinstance(said["receipt"], dict):
        raise EvidenceBroken("The receipt is not a JSON object.")
    return Receipt(
        found.leaf,
        found.index,
        found.inclusion,
        found.checkpoint,
        receipt=said["receipt"],
        ended=_parse_end(said["ended"], found),
        holder=_parse_holder(said["holder"]),
    )


def ends_grant(over: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether the entry ``over`` of the log says that the grant which ``given`` records has ended.

    It names the grant, or lists it among others, or says it of every grant to the purpose up to a number.
    """
    body, said = over["body"], given["subject"]
    named = _GRANT.fullmatch(said) if isinstance(said, str) else None
    if over["kind"] != "grant:end" or not isinstance(body, dict) or named is None:
        return False
    grant_id = int(named[1])
    if _of(body, "purpose") != _of(given["body"], "purpose"):
        return False
    listed, up_to = body.get("grants"), body.get("up_to")
    return (
        body.get("grant") == grant_id
        or (isinstance(listed, list) and grant_id in listed)
        or (type(up_to) is int and grant_id <= up_to and _is_later(over["id"], given["id"]))
    )


def _given(session: Session, grant_id: int) -> EvidenceEntry:
    about = (EvidenceEntry.subject == f"grant:{grant_id}") & (EvidenceEntry.kind == "grant:give")
    return session.execute(select(EvidenceEntry).where(about)).scalar_one()


def _over(session: Session, row: GrantRow) -> int | None:
    """The id of the entry that records the end of the grant."""
    if row.ended_at is None:
        return None
    given = _given(session, row.id)
    ends = select(EvidenceEntry).where(EvidenceEntry.kind == "grant:end", EvidenceEntry.id > given.id)
    # Most grants end by themselves, with an entry of their own; what is about a purpose is much more.
    for about in (f"grant:{row.id}", f"purpose:{row.purpose}"):
        for entry in session.scalars(ends.where(EvidenceEntry.subject == about).order_by(EvidenceEntry.id)):
            if ends_grant(_as_entry(entry), _as_entry(given)):
                return entry.id
    return None


def _as_entry(row: EvidenceEntry) -> dict[str, Any]:
    return {"id": row.id, "kind": row.kind, "subject": row.subject, "body": json.loads(row.body)}


def _parse_end(said: Any, given: Included) -> Included | None:
    if said is None:
        return None
    if not isinstance(said, dict) or set(said) != {"inclusion", "index", "leaf"}:
        raise EvidenceBroken("The end has not exactly the fields inclusion, index, leaf.")
    if not isinstance(said["leaf"], str) or type(said["index"]) is not int or said["index"] < 0:
        raise EvidenceBroken("The leaf of the end is not text, or its index is not a whole number from 0.")
    entry = canonical(said["leaf"].encode(), "leaf of the end")
    if not isinstance(entry, dict) or set(entry) != {"at", "body", "id", "kind", "subject"}:
        raise EvidenceBroken("The leaf of the end has not exactly the fields of an entry.")
    inclusion = parse_hashes(said["inclusion"], "inclusion")
    return Included(said["leaf"].encode(), said["index"], inclusion, given.checkpoint)


def _parse_holder(said: Any) -> tuple[str, bytes] | None:
    if said is None:
        return None
    if not isinstance(said, dict) or set(said) != {"salt", "subject"} or not all(map(_is_hex, said.values())):
        raise EvidenceBroken("The holder has not exactly the fields salt and subject, both in lower-case hex digits.")
    return said["subject"], bytes.fromhex(said["salt"])


def _is_hex(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"([0-9a-f]{2})+", value) is not None


def _is_later(one: Any, other: Any) -> bool:
    return type(one) is int and type(other) is int and one > other


def _of(body: Any, name: str) -> Any:
    return body.get(name) if isinstance(body, dict) else None
