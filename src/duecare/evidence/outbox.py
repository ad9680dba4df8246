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
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import rfc8785
import structlog
from sqlalchemy import BigInteger, Connection, Index, Integer, Text, bindparam, func, insert, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, Session, mapped_column

from duecare.clock import Clock, SystemClock, utc
from duecare.errors import BadInput, DuecareError, EvidenceBroken
from duecare.evidence.checkpoint import Checkpoint, Note
from duecare.evidence.log import Log
from duecare.evidence.tiles import MAX_ENTRY, LogReader
from duecare.store.database import Base, Database, Moment, parts

BATCH = 8192
"""Entries that go into the log under one checkpoint."""

_CHUNK = 500
_PATIENCE = 2.0  # seconds that whoever has done something waits for another to finish with the log
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
class LoggedEntry:
    """An entry as it stands in the log, at leaf index ``index``. ``body`` holds JSON values."""

    id: int
    kind: str
    subject: str
    at: datetime
    body: dict[str, Any]
    index: int
    leaf: bytes

    @classmethod
    def parse(cls, index: int, written: bytes) -> LoggedEntry:
        """Read the leaf ``written``. Raises ``EvidenceBroken`` where it is not what ``leaf`` would write."""
        try:
            value = json.loads(written)
            at = datetime.fromisoformat(value["at"])
            entry = cls(value["id"], value["kind"], value["subject"], at, value["body"], index, written)
            same = leaf(entry.id, entry.kind, entry.subject, at, rfc8785.dumps(entry.body).decode()) == written
        except (ValueError, KeyError, TypeError, BadInput, RecursionError):
            same = False
        if not same:
            raise EvidenceBroken(f"What the log holds at {index} is not an entry of an outbox.")
        return entry

    def row(self) -> dict[str, Any]:
        """The row of the database."""
        body = rfc8785.dumps(cast("Any", self.body)).decode()
        return {
            "id": self.id,
            "kind": self.kind,
            "subject": self.subject,
            "at": self.at.astimezone(UTC),
            "body": body,
            "leaf_index": self.index,
        }


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


def record_act(connection: Connection, act: Act) -> int:
    """``record`` for a door that is asked a thousand times a second: without a session; returns the id of the entry."""
    return int(connection.execute(_RECORD, _row(act)).scalar_one())


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
    asked = select(*_COLUMNS).where(EvidenceEntry.leaf_index.is_(None)).order_by(EvidenceEntry.id).limit(BATCH)
    appended = 0
    with log.locked():
        while True:
            with database.session() as session:
                if not appended:
                    _settle(session, log)
                waiting = session.execute(asked).all()
            if waiting:
                first = log.append([leaf(*row) for row in waiting])
                with database.session() as session:
                    _place(session, [(row.id, first + offset) for offset, row in enumerate(waiting)])
                appended += len(waiting)
            if len(waiting) < BATCH:
                return appended


def keep_up(database: Database, log: Log | Path) -> bool:
    """As ``sequence``, for those whose act is done: a ``log`` (or that of a home's folder) that is busy, damaged or on
    a disk that is full or gone is told, not raised, and takes it the next time. Returns whether the log has all."""
    try:
        log = Log.at(log) if isinstance(log, Path) else log
        with log.locked(_PATIENCE):
            sequence(database, log)
    except (DuecareError, OSError, SQLAlchemyError) as error:
        structlog.get_logger().warning("the log waits", why=str(error))
        return False
    return True


def waiting(database: Database) -> int:
    """How many committed entries are not in the log yet."""
    with database.session() as session:
        asked = select(func.count()).select_from(EvidenceEntry).where(EvidenceEntry.leaf_index.is_(None))
        return session.scalar(asked) or 0


_RECORD = insert(EvidenceEntry.__table__).returning(EvidenceEntry.id)  # type: ignore[arg-type]
_COLUMNS = (EvidenceEntry.id, EvidenceEntry.kind, EvidenceEntry.subject, EvidenceEntry.at, EvidenceEntry.body)


def adopt(database: Database, log: Log, clock: Clock | None = None) -> list[LoggedEntry]:
    """Take from the log what a database that was restored from an older copy has lost; what was taken is returned.

    The lost entries are put back as they stand in the log, the ids go on after the highest, and the entry
    ``evidence:adopt`` records how many there were and from which leaf on. Cheap where nothing was lost. Call it outside
    of any transaction and before anything is recorded. Raises ``EvidenceBroken`` where the database gave an id to
    something else than the log, or knows more than the log does; then nothing is changed.
    """
    if not apart(database, log):
        return []
    with log.locked():
        size = log.size
        with database.session() as session:
            _lock(session)
            known = _known(session, size)
            found = {entry.id: entry for entry in read_entries(log, known, size=size)}
            present = _present(session, found)
            other = sorted(number for number, held in present.items() if held != found[number].leaf)
            if other or len(found) < size - known:
                raise EvidenceBroken(
                    f"The database gave ids that the log holds to other entries (ids {other[:3]}).",
                    hint="It went on from an older copy. Restore a copy that has not; nothing was changed.",
                )
            _place(session, [(number, found[number].index) for number in present])
            lost = [entry for number, entry in found.items() if number not in present]
            if lost:
                session.execute(insert(EvidenceEntry), [entry.row() for entry in lost])
                _move_ids(session)
                body = {"entries": len(lost), "from_leaf": lost[0].index}
                record(session, "evidence:adopt", f"log:{log.key.name}", body, (clock or SystemClock()).now())
    return lost


def apart(database: Database, log: Log) -> bool:
    """Whether database and log know different entries: one was restored, or a kill left what ``sequence`` mends."""
    with database.session() as session:
        highest = session.scalar(select(func.max(EvidenceEntry.leaf_index)))
    return log.size != (0 if highest is None else highest + 1)


def read_entries(
    log: LogReader, start: int = 0, kinds: Collection[str] | None = None, size: int | None = None
) -> Iterator[LoggedEntry]:
    """The entries of the log from leaf index ``start`` on, of any or of given ``kinds``, in the order of the log.

    ``size`` is where to stop (default: at what the checkpoint says now). Raises ``EvidenceBroken`` where what stands
    there is not an entry.
    """
    stop = Checkpoint.parse(Note.parse(log.note()).text).size if size is None else size
    # A leaf is canonical, so that its kind stands in it in one form only: most are passed over without being parsed.
    wanted = None if kinds is None else [b'"kind":%s,"subject":' % rfc8785.dumps(kind) for kind in kinds]
    for index, written in enumerate(log.entries(start, stop), start):
        if wanted is None or any(each in written for each in wanted):
            entry = LoggedEntry.parse(index, written)
            if kinds is None or entry.kind in kinds:
                yield entry


def _settle(session: Session, log: Log) -> None:
    """Write back where entries stand that a killed run appended, but could not note in the database."""
    size = log.size
    known = _known(session, size)
    if known == size:
        return
    found = {entry.id: entry for entry in read_entries(log, known, size=size)}
    present = _present(session, found)
    same = [number for number, held in present.items() if held == found[number].leaf]
    if len(same) < size - known:
        lost = sorted(set(found) - set(same))[:3]
        raise EvidenceBroken(
            f"The log holds entries that the database does not know as such (ids {lost}).",
            hint="The database was replaced by an older copy. Restore the newer one, or let this one adopt what it "
            "has lost from the log; nothing was appended.",
        )
    _place(session, [(number, found[number].index) for number in same])


def _known(session: Session, size: int) -> int:
    """How many entries of the log the database knows. Raises ``EvidenceBroken`` where that is more than it holds."""
    highest = session.scalar(select(func.max(EvidenceEntry.leaf_index)))
    known = 0 if highest is None else highest + 1
    if known > size:
        raise EvidenceBroken(
            f"The database knows {known} entries of the log, but the log holds {size}.",
            hint="The log was replaced by an older copy. Restore the newer one; nothing was appended.",
        )
    return known


def _present(session: Session, found: Mapping[int, LoggedEntry]) -> dict[int, bytes]:
    """The leaves of the rows whose ids are in ``found``; one that stands elsewhere in the log has an empty leaf."""
    return {
        row.id: leaf(*row[:5]) if row.leaf_index is None else b""
        for part in parts(list(found), _CHUNK)
        for row in session.execute(select(*_COLUMNS, EvidenceEntry.leaf_index).where(EvidenceEntry.id.in_(part)))
    }


def _lock(session: Session) -> None:
    """Let nobody record until the transaction ends. SQLite has one writer at a time anyway."""
    if session.connection().dialect.name == "postgresql":
        session.execute(text("LOCK TABLE evidence IN EXCLUSIVE MODE"))


def _move_ids(session: Session) -> None:
    """Let the next id be one that is not in use. SQLite moves on by itself with each row."""
    if session.connection().dialect.name == "postgresql":
        session.execute(
            text(
                "SELECT setval(pg_get_serial_sequence('evidence', 'id'), "
                "GREATEST((SELECT max(id) FROM evidence), nextval(pg_get_serial_sequence('evidence', 'id'))))"
            )
        )


def _place(session: Session, places: Sequence[tuple[int, int]]) -> None:
    if not places:
        return
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
