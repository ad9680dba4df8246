"""Subjects: the people whom data is about, by random names, and the commitments under which the log knows them.

The rule of this module: nothing here says who a subject is; that is sealed in the vault. Once a subject's salt is
forgotten, no commitment of theirs can be made again, and nothing new is recorded of them.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from duecare.clock import utc
from duecare.consent.models import GrantRow, SubjectRow
from duecare.errors import UnknownName, UseError
from duecare.evidence.commitment import SALT_SIZE, commit
from duecare.store.database import alone


@dataclass(frozen=True)
class Subject:
    """A person: a random name of 32 hex digits; ``salt`` is 64 hex digits, none once it is forgotten."""

    id: str
    salt: str | None
    created_at: datetime


def add(session: Session, at: datetime) -> str:
    """A new subject; returns the id."""
    name = secrets.token_hex(16)
    session.add(SubjectRow(id=name, salt=secrets.token_hex(SALT_SIZE), created_at=utc(at)))
    session.flush()
    return name


def subject(session: Session, name: str) -> Subject:
    """The subject called ``name``. Raises ``UnknownName``; other subjects' names are not told."""
    columns = select(SubjectRow.id, SubjectRow.salt, SubjectRow.created_at)
    row = session.execute(columns.where(SubjectRow.id == name)).one_or_none()
    if row is None:
        raise UnknownName("subject", name, None)
    return Subject(*row)


def lock(session: Session, name: str) -> None:
    """Let nobody else agree, answer, end or erase for the subject until the transaction ends; waits for who does.

    Whoever takes locks on purposes too takes them after this one: then two of them wait in one direction only.
    """
    alone(session, f"subject:{name}")


def commitment(session: Session, name: str) -> str:
    """What stands for the subject in the log: ``sha256:`` and 64 hex digits. Raises ``UnknownName``, ``UseError``
    where the salt is forgotten."""
    found = subject(session, name)
    if found.salt is None:
        raise UseError(
            f"The subject {name} was forgotten: nothing new can be recorded of them.",
            hint="A person who comes back is a new subject.",
        )
    return commit(found.id, bytes.fromhex(found.salt)).text


def forget_salt(session: Session, name: str) -> None:
    """Forget the salt, after the last erasure. Raises ``UnknownName``, ``UseError`` while a grant stands."""
    lock(session, name)
    subject(session, name)
    stands = select(GrantRow.purpose).where(GrantRow.subject == name, GrantRow.ended_at.is_(None)).order_by("purpose")
    purposes = list(session.scalars(stands))
    if purposes:
        raise UseError(
            f"A grant of the subject {name} still stands ({', '.join(purposes)}).", hint="End it before forgetting."
        )
    forgetting = update(SubjectRow).where(SubjectRow.id == name, SubjectRow.salt.is_not(None)).values(salt=None)
    session.execute(forgetting.execution_options(synchronize_session=False))
