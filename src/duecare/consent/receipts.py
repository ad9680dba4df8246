"""Receipts: the copy of a grant that the person takes away (ISO/IEC TS 27560, JSON-LD with W3C DPV terms).

The SHA-256 of a receipt's content stands in the log entry of the grant: a proof file makes it checkable offline.

The rule of this module: the content of a receipt is made of what was kept when the grant was given, and of nothing that
can change afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import rfc8785
from sqlalchemy import select
from sqlalchemy.orm import Session

from duecare.consent.models import GrantRow
from duecare.consent.notices import Version
from duecare.consent.notices import version as notice_version
from duecare.consent.purposes import Purpose
from duecare.consent.purposes import purpose as declared
from duecare.consent.subjects import commitment
from duecare.errors import UnknownName
from duecare.evidence.outbox import EvidenceEntry


def receipt(session: Session, grant_id: int) -> dict[str, Any]:
    """The receipt of a grant, with the entry of the log that it is bound to. Raises ``UnknownName``."""
    row = session.get(GrantRow, grant_id)
    if row is None:
        raise UnknownName("grant", str(grant_id), [])
    purpose = declared(session, row.purpose, number=row.purpose_version)
    shown = notice_version(session, row.notice, row.notice_version)
    made = content(row, purpose, shown, commitment(session, row.subject))
    entry = select(EvidenceEntry.id).where(
        EvidenceEntry.subject == f"grant:{row.id}", EvidenceEntry.kind == "grant:give"
    )
    return {**made, "log": {"entry": session.scalar(entry), "sha256": digest(made)}}


def content(row: GrantRow, purpose: Purpose, shown: Version, committed: str) -> dict[str, Any]:
    """What the receipt of a grant says, without what binds it to the log."""
    return {"record": row.record, "purpose": purpose.name, "notice": shown.name, "subject": committed}


def digest(made: Mapping[str, Any]) -> str:
    """The SHA-256 (hex) of the canonical JSON of a receipt's content."""
    return sha256(rfc8785.dumps(dict(made))).hexdigest()
