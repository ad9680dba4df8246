"""Succession: a person who agreed anew, to a newer notice, goes on with what they gave before.

The rule of this module: a key serves a newer grant only where every grant between was superseded. What was withdrawn in
between is not taken up again.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, exists, select, update
from sqlalchemy.orm import Session, aliased

from duecare.consent.grants import EndKind
from duecare.consent.models import GrantEnd, GrantRow
from duecare.store.database import in_order, parts
from duecare.vault.models import KeyState, VaultKey, in_state


def followed() -> ColumnElement[bool]:
    """SQL: the grant of the key was superseded, and one stands that the person gave without withdrawing between."""
    newer, over = aliased(GrantRow), aliased(GrantEnd)
    same = (newer.subject == VaultKey.subject) & (newer.purpose == VaultKey.purpose)
    stands = exists().where(same, newer.ended_at.is_(None))
    since = same & (newer.id >= VaultKey.grant_id)
    broken = exists().where(since, over.grant_id == newer.id, over.kind != EndKind.SUPERSEDED)
    return stands & ~broken


def follow(session: Session, purpose: str, subjects: Sequence[str]) -> None:
    """Let the keys of ``subjects`` for ``purpose`` serve the grants that superseded theirs."""
    newer = select(GrantRow.id).where(
        GrantRow.subject == VaultKey.subject, GrantRow.purpose == VaultKey.purpose, GrantRow.ended_at.is_(None)
    )
    for part in parts(sorted(set(subjects))):
        theirs = (VaultKey.purpose == purpose) & VaultKey.subject.in_(part) & in_state(VaultKey, KeyState.LIVE)
        in_order(session, select(VaultKey.id).where(theirs).order_by(VaultKey.subject))
        session.execute(
            update(VaultKey)
            .where(theirs, followed())
            .values(grant_id=newer.scalar_subquery())
            .execution_options(synchronize_session=False)
        )
