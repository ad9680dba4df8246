"""What is held of a person, for which purpose, since when and until when: everything but the values.

The rule of this module: what was erased is listed too, as erased. A person sees the whole account, not the rest of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from duecare.consent.models import GrantRow
from duecare.consent.purposes import Retention
from duecare.consent.subjects import subject as known_subject
from duecare.vault.acts import held_sql
from duecare.vault.models import KeyState, VaultErasure, VaultKey, VaultValue, VaultWrap, in_state
from duecare.vault.retention import expiry

if TYPE_CHECKING:
    from duecare.vault.records import Vault


@dataclass(frozen=True)
class Held:
    """A field of a person. ``state``: ``held``, ``kept`` (its grant ended, a legal hold keeps it), ``erased``.

    ``until``: the last day it may be kept, none while ``event`` has no date. ``erasure``: what erased it.
    """

    field: str
    purpose: str
    state: str
    since: datetime
    until: date | None = None
    event: str = ""
    legal_hold: bool = False
    erasure: str = ""
    erased_at: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return dict(self.__dict__)


def held(vault: Vault, session: Session, subject: str) -> list[Held]:
    """What is held of a subject and what was erased, by purpose and field. Raises ``UnknownName``."""
    known_subject(session, subject)
    return sorted(
        [*_live(vault, session, subject), *_erased(session, subject)],
        key=lambda each: (each.purpose, each.field, each.since),
    )


def _live(vault: Vault, session: Session, subject: str) -> Iterator[Held]:
    rows = session.execute(
        select(
            VaultKey.purpose,
            VaultWrap.field,
            VaultValue.sealed_at,
            GrantRow.purpose_version,
            GrantRow.ended_at,
            held_sql(VaultKey.purpose, VaultKey.subject).label("legal_hold"),
        )
        .join(VaultWrap, VaultWrap.key_id == VaultKey.id)
        .join(VaultValue, VaultValue.id == VaultWrap.value_id)
        .join(GrantRow, GrantRow.id == VaultKey.grant_id)
        .where(VaultKey.subject == subject, in_state(VaultKey, KeyState.LIVE))
    )
    known: dict[Retention, tuple[date, date] | None] = {}
    for row in rows:
        kept = vault.purpose(session, row.purpose, row.purpose_version).retention
        if kept not in known:
            known[kept] = expiry(session, subject, kept)
        ends = known[kept]
        yield Held(
            field=row.field,
            purpose=row.purpose,
            state="kept" if row.ended_at is not None and row.legal_hold else "held",
            since=row.sealed_at,
            until=ends[1] if ends else None,
            event=kept.event,
            legal_hold=bool(row.legal_hold),
        )


def _erased(session: Session, subject: str) -> Iterator[Held]:
    rows = session.execute(
        select(VaultErasure.purpose, VaultErasure.id, VaultValue.field, VaultValue.sealed_at, VaultValue.gone_at)
        .join(VaultValue, (VaultValue.act == VaultErasure.act) & (VaultValue.subject == VaultErasure.subject))
        .where(VaultErasure.subject == subject)
    )
    for row in rows:
        yield Held(
            field=row.field,
            purpose=row.purpose,
            state="erased",
            since=row.sealed_at,
            erasure=row.id,
            erased_at=row.gone_at,
        )
