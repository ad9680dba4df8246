"""The outbox: an act and the evidence of it commit in one transaction; the log takes the evidence from there.

``record`` is called inside the transaction of the act. ``sequence`` later appends what has committed to the log, in the
order of ids, and writes back where each entry stands. The log's own leaves carry the ids, so that a kill between the
two stores is put right from the log itself.

The rule of this module: an entry is in the log exactly once, whatever is killed and however many run at once; and what
was recorded is never changed or deleted (the database refuses it by trigger).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import rfc8785
from sqlalchemy import BigInteger, Index, Integer, Text, bindparam, func, insert, select, text, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from duecare.clock import utc
from duecare.errors import BadInput, EvidenceBroken
from duecare.evidence.log import Log
from duecare.evidence.tiles import MAX_ENTRY
from duecare.store.database import Base, Database, Moment

BATCH = 8192
"""Entries that go into the log under one checkpoint."""

_FRAME = 6  # bytes that escaping may make of one
_ID = BigInteger().with_variant(Integer(), "sqlite")
_KIND = re.compile(r"[a-z][a-z_]*(:[a-z][a-z_]*)+")


class EvidenceEntry(Base):
    """One thing that was decided or done. ``leaf_index`` is its place in the log, null until it is sequenced."""

    __tablename__ = "evidence"
    __table_args__ = (
        Index(
            "ix_evidence_waiting",
            "id",
            sqlite_where=text("leaf_index IS NULL"),
            postgresql_where=text("leaf_index IS NULL"),
        ),
        {"sqlite_autoincrement": True},  # ids are never used again
    )

    id: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text, index=True)
    at: Mapped[datetime] = mapped_column(Moment)
    body: Mapped[str] = mapped_column(Text)
    leaf_index: Mapped[int | None] = mapped_column(BigInteger, unique=True)


@dataclass(frozen=True)
class Act:
    """What ``record_all`` takes: kind as ``subject:verb``, what it is about, the facts of it, and when (aware)."""

    kind: str
    subject: str
    body: Mapping[str, Any]
    at: datetime


def record(session: Session, kind: str, subject: str, body: Mapping[str, Any], at: datetime) -> EvidenceEntry:
    """Record one act in the caller's transaction; the entry has its id when this returns.

    ``kind`` is ``subject:verb`` in lower case (``alert:send``); ``subject`` names what it is about (``alert:17``);
    ``body`` holds JSON values and no personal ones: commitments stand in their place. Raises ``BadInput``.
    """
    entry = EvidenceEntry(**_row(Act(kind, subject, body, at)))
    session.add(entry)
    session.flush()
    return entry


def record_all(session: Session, acts: Sequence[Act]) -> None:
    """Record many acts at once, in order. For bulk, where nobody asks for the ids."""
    if acts:
        session.execute(insert(EvidenceEntry), [_row(act) for act in acts])


def leaf(entry_id: int, kind: str, subject: str, at: datetime, body: str) -> bytes:
    """The bytes that go into the log: canonical JSON (RFC 8785) of ``at, body, id, kind, subject``.

    ``at`` is UTC with six decimals of seconds and Z; ``body`` is canonical already and goes in as it is.
    """
    moment = utc(at).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    head = b'{"at":"%s","body":%s,"id":%d' % (moment.encode(), body.encode(), entry_id)
    return head + b',"kind":%s,"subject":%s}' % (rfc8785.dumps(kind), rfc8785.dumps(subject))


def sequence(database: Database, log: Log) -> int:
    """Append every committed entry that is not in the log yet; how many were appended is returned.

    Call it outside of any transaction. Safe to kill anywhere and to run in several processes at once. Raises
    ``EvidenceBroken`` where database and log contradict each other (one was restored from an older copy), ``Busy``.
    """
    appended = 0
    with log.locked():
        _settle(database, log)
        while True:
            with database.session() as session:
                waiting = session.execute(
                    select(*_COLUMNS).where(EvidenceEntry.leaf_index.is_(None)).order_by(EvidenceEntry.id).limit(BATCH)
                ).all()
            if not waiting:
                return appended
            first = log.append([leaf(*row) for row in waiting])
            with database.session() as session:
                _place(session, [(row.id, first + offset) for offset, row in enumerate(waiting)])
            appended += len(waiting)


_COLUMNS = (EvidenceEntry.id, EvidenceEntry.kind, EvidenceEntry.subject, EvidenceEntry.at, EvidenceEntry.body)


def _settle(database: Database, log: Log) -> None:
    """Write back where entries stand that a killed run appended, but could not note in the database."""
    size = log.size
    with database.session() as session:
        highest = session.scalar(select(func.max(EvidenceEntry.leaf_index)))
        known = 0 if highest is None else highest + 1
        if known > size:
            raise EvidenceBroken(
                f"The database knows {known} entries of the log, but the log holds {size}.",
                hint="The log was replaced by an older copy. Restore the newer one; nothing was appended.",
            )
        if known == size:
            return
        found = {int(json.loads(entry)["id"]): (known + at, entry) for at, entry in enumerate(log.entries(known, size))}
        rows = [
            row
            for start in range(0, len(found), 500)
            for row in session.execute(
                select(*_COLUMNS).where(
                    EvidenceEntry.id.in_(list(found)[start : start + 500]), EvidenceEntry.leaf_index.is_(None)
                )
            )
        ]
        same = [row.id for row in rows if leaf(*row) == found[row.id][1]]
        if len(same) < size - known:
            lost = sorted(set(found) - set(same))[:3]
            raise EvidenceBroken(
                f"The log holds entries that the database does not know as such (ids {lost}).",
                hint="The database was replaced by an older copy. Restore the newer one; nothing was appended.",
            )
        _place(session, [(entry_id, found[entry_id][0]) for entry_id in same])


def _place(session: Session, places: Sequence[tuple[int, int]]) -> None:
    statement = (
        update(EvidenceEntry.__table__)  # type: ignore[arg-type]
        .where(EvidenceEntry.id == bindparam("entry"))
        .values(leaf_index=bindparam("place"))
    )
    session.connection().execute(statement, [{"entry": entry, "place": place} for entry, place in places])


def _row(act: Act) -> dict[str, Any]:
    if not _KIND.fullmatch(act.kind):
        raise BadInput(f"{act.kind!r} is not a kind of evidence.", hint="Write subject:verb, such as alert:send.")
    if not act.subject or any(character < " " for character in act.subject):
        raise BadInput(f"{act.subject!r} cannot be what evidence is about.", hint="Name it in one line: alert:17.")
    at = utc(act.at)
    try:
        written = rfc8785.dumps(cast("Any", dict(act.body)))
        body, size = written.decode(), len(written) + _FRAME * len(act.kind.encode() + act.subject.encode()) + 100
        if size > MAX_ENTRY:
            size = len(leaf(2**53, act.kind, act.subject, at, body))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise BadInput(f"The body of {act.kind} is not JSON that can be written canonically: {error}.") from None
    if size > MAX_ENTRY:
        raise BadInput(
            f"The evidence of {act.kind} is {size} bytes long; an entry of the log holds at most {MAX_ENTRY}.",
            hint="Keep the long part elsewhere and put its SHA-256 here.",
        )
    return {"kind": act.kind, "subject": act.subject, "at": at.astimezone(UTC), "body": body}
