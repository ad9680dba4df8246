"""Who works at the pass centre: a name and a key, which is shown once and kept as a digest.

The rule of this module: whoever acts on a holder's data there is known by name, and their name stands in the evidence.
"""

from __future__ import annotations

import re
import secrets
from datetime import datetime
from hashlib import sha256

from sqlalchemy import select
from sqlalchemy.orm import Session

from duecare.clock import utc
from duecare.errors import BadInput, UnknownName
from duecare.evidence.outbox import record
from duecare.systems.passes.models import Clerk

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}")


def add(session: Session, name: str, at: datetime) -> str:
    """A new key for the clerk called ``name``; one they had ends. Raises ``BadInput``."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"{name!r} cannot name a clerk.", hint="Take lower-case letters, digits, '.', '-' and '_'.")
    key = secrets.token_urlsafe(32)
    session.merge(Clerk(name=name, digest=_digest(key), added_at=utc(at), ended_at=None))
    record(session, "clerk:add", f"clerk:{name}", {}, at)
    return key


def end(session: Session, name: str, at: datetime) -> None:
    """The clerk's key opens nothing any more. Raises ``UnknownName``."""
    row = session.get(Clerk, name)
    if row is None or row.ended_at is not None:
        raise UnknownName("clerk", name, [each.name for each in clerks(session)])
    row.ended_at = utc(at)
    record(session, "clerk:end", f"clerk:{name}", {}, at)


def clerks(session: Session) -> list[Clerk]:
    """Those whose key is good, by name."""
    return list(session.scalars(select(Clerk).where(Clerk.ended_at.is_(None)).order_by(Clerk.name)))


def known(session: Session, key: str) -> str | None:
    """Whose key this is."""
    row = session.scalar(select(Clerk).where(Clerk.digest == _digest(key), Clerk.ended_at.is_(None)))
    return row.name if row else None


def _digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()
