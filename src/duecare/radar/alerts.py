"""Alerts: what passed the screen becomes news, and each watcher becomes owed a delivery, in one transaction.

Both are sets: an ``INSERT … SELECT`` each, so that a hundred thousand changes meet a million watches at the speed of
the join (the transactional outbox: an alert without its deliveries cannot exist). Many go in parts, each a transaction
of its own, two at once where the database takes two: a plain join uses two cores, and so do we.

The rule of this module: only a screening that passed becomes an alert, and it becomes one once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import (
    Boolean,
    ColumnElement,
    CursorResult,
    Result,
    TextClause,
    bindparam,
    delete,
    exists,
    func,
    select,
    text,
)
from sqlalchemy.orm import Session

from duecare.evidence.outbox import record
from duecare.radar.models import ADDRESSES, Alert, Screening, Unraised
from duecare.radar.raisings import BATCH, GREATEST, commit_contents, of_batch
from duecare.store.database import Database, Moment

_PART = 50_000
_NEXT = timedelta(microseconds=1)
_AT_ONCE = 2

_OF_PART = "FROM screenings s WHERE s.batch_id = :batch AND s.state = 'passed' AND s.id BETWEEN :first AND :last"
_PASSED = f"SELECT s.* {_OF_PART}"
_NEW = f"{_PASSED} AND NOT EXISTS (SELECT 1 FROM alerts WHERE alerts.id = s.id)"
# The same for PostgreSQL, read to its end before the first row is written. A planner that believes a new table to be
# empty would else read it again for each row, while it grows: two minutes where this takes one second.
_NEW_FIRST = f"""
    SELECT s.* FROM (SELECT s.id {_OF_PART} EXCEPT SELECT id FROM alerts WHERE id BETWEEN :first AND :last) new
    JOIN screenings s ON s.id = new.id
"""
_AWAIT = text(
    "INSERT INTO unraised_batches (batch_id, mark) VALUES (:batch, 1) "
    "ON CONFLICT (batch_id) DO UPDATE SET mark = unraised_batches.mark + 1"
)
_ANY_RAISED = text("SELECT EXISTS (SELECT 1 FROM alerts WHERE id BETWEEN :first AND :last)")

_ALERTS = """
    INSERT INTO alerts (id, change_id, batch_id, entity, name, source, section, fact_key, kind, category, risk, before,
                        after, effective_on, not_before, not_after, snapshot, address, verification, verification_id,
                        reasons, created_at, state)
    SELECT s.id, s.change_id, s.batch_id, s.entity, s.name, s.source, s.section, s.fact_key, s.kind, s.category,
           s.risk, s.before, s.after, s.effective_on, s.not_before, s.not_after, s.snapshot, coalesce(v.address, ''),
           s.verification, v.id, s.reasons, :created, 'sent'
    FROM ({new}) s
    LEFT JOIN (SELECT change_id, max(id) AS id FROM verifications GROUP BY change_id) last
           ON last.change_id = s.change_id AND s.verification <> 'none'
    LEFT JOIN verifications v ON v.id = last.id
"""

# No conflict clause, which would cost a tenth of all: a watch is one for each member and entity, an address belongs to
# one member, and the alerts are new, so that no pair comes twice; the primary key, which is made of the pair,
# stands behind that.
# CROSS JOIN: SQLite then keeps this order, from the few new alerts to the many watches; PostgreSQL finds its own.
_DELIVERIES = f"""
    INSERT INTO deliveries (id, alert_id, member_id, address_id, channel, mode, state, attempts, created_at, next_at,
                            unanswered, last_error)
    SELECT CAST(a.id AS BIGINT) * {ADDRESSES} + c.id, a.id, w.member_id, c.id, c.channel,
           CASE WHEN w.realtime THEN 'realtime' ELSE 'digest' END, 'due', 0, :at, :at, :false, ''
    FROM {{raised}} a CROSS JOIN watches w CROSS JOIN channel_addresses c
    WHERE w.entity = a.entity AND w.ended_at IS NULL AND (w.source IS NULL OR w.source = a.source)
      AND (w.categories = '' OR w.categories LIKE '%,' || a.category || ',%')
      AND c.member_id = w.member_id AND c.state = 'active'
      AND (w.channels = '' OR w.channels LIKE '%,' || c.channel || ',%')
"""

_AT, _CREATED = bindparam("at", type_=Moment()), bindparam("created", type_=Moment())
_FALSE = bindparam("false", type_=Boolean())


def _both(new: str) -> TextClause:
    """For PostgreSQL: one statement, hence one view of what passed, and no second reading of what was just written."""
    return text(
        f"""
        WITH raised AS ({_ALERTS.format(new=new)} RETURNING id, entity, source, category),
             owed AS ({_DELIVERIES.format(raised="raised")} RETURNING 1)
        SELECT min(id), max(id), count(*), (SELECT count(*) FROM owed) FROM raised
        """
    ).bindparams(_AT, _CREATED, _FALSE)


# Mostly nothing of a part was raised before, and then there is nothing to leave out.
_BOTH, _BOTH_NEW = _both(_PASSED), _both(_NEW_FIRST)
# A part fits into this memory, and compiling a plan that runs once takes longer than it saves.
_FOR_ONE_PART = text("SELECT set_config('work_mem', '32MB', true), set_config('jit', 'off', true)")

# SQLite has no writing within WITH, but nobody else writes meanwhile. The deliveries come first: they need no more of
# an alert than its id, which is that of the screening.
_DELIVERIES_FIRST = text(_DELIVERIES.format(raised=f"({_NEW})")).bindparams(_AT, _FALSE)
_ALERTS_THEN = text(f"{_ALERTS.format(new=_NEW)} RETURNING id").bindparams(_CREATED)


@dataclass(frozen=True)
class Raised:
    """How many alerts were raised and how many deliveries are owed for them."""

    alerts: int = 0
    deliveries: int = 0

    def __add__(self, other: Raised) -> Raised:
        return Raised(self.alerts + other.alerts, self.deliveries + other.deliveries)


@dataclass(frozen=True)
class Part:
    """Screenings of one batch: those with an id from ``first`` to ``last``."""

    batch_id: str
    first: int = 0
    last: int = GREATEST


def await_alerts(session: Session, batch_id: str) -> None:
    """Note, in the caller's transaction, that something of the batch passed and is to be told."""
    session.execute(_AWAIT, {"batch": batch_id})


def raise_pending(database: Database, *, at: datetime) -> Raised:
    """Raise an alert for everything that passed and has none, and commit in the evidence to what each says. ``at`` is
    aware.

    Each part commits by itself, whole or not at all; a kill leaves the rest to the next call. Let one process do it at
    a time (``home.writing``): of two that raise the same, the second fails at the primary key and writes nothing.
    """
    with database.session() as session:
        waiting = session.execute(select(Unraised.batch_id, Unraised.mark).order_by(Unraised.batch_id)).all()
    raised = fan_out(database, [row.batch_id for row in waiting], at=at)
    for row in waiting:
        commit_contents(database, row.batch_id, at=at)
    with database.session() as session:
        for row in waiting:
            session.execute(delete(Unraised).where(Unraised.batch_id == row.batch_id, Unraised.mark == row.mark))
    return raised


def fan_out(database: Database, batches: Sequence[str], *, at: datetime) -> Raised:
    """Raise the alerts of ``batches`` and owe them to who watches; what they say is still to be committed to."""

    def one(part: Part) -> Raised:
        with database.session() as session:
            return raise_alerts(session, part, at=at)

    with database.session() as session:
        parts = [part for batch in batches for part in _parts(session, batch)]
    if database.embedded or len(parts) < _AT_ONCE:
        return sum(map(one, parts), Raised())
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return sum(pool.map(one, parts), Raised())


def raise_alerts(session: Session, part: Part, *, at: datetime) -> Raised:
    """Raise an alert for each screening of ``part`` that passed and has none; owe it to everyone who watches now.

    Within the caller's transaction. Run again, it raises nothing twice: a watch that began after an alert was raised
    is not told of it. ``at`` is aware. The evidence of it (``batch:alert``) says which they are: those of the batch
    from ``first`` to ``last`` with the moment of the entry.
    """
    created = _own_moment(session, part, at)
    given = {"batch": part.batch_id, "first": part.first, "last": part.last, "at": at, "created": created}
    given["false"] = False
    if session.get_bind().dialect.name == "sqlite":
        deliveries = _rows(session.execute(_DELIVERIES_FIRST, given))
        ids = session.scalars(_ALERTS_THEN, given).all()
        first, last, number = min(ids, default=0), max(ids, default=0), len(ids)
    else:
        session.execute(_FOR_ONE_PART)
        some = session.scalar(_ANY_RAISED, given)
        first, last, number, deliveries = session.execute(_BOTH_NEW if some else _BOTH, given).one()
    if not number:
        return Raised()
    body = {"batch": part.batch_id, "alerts": number, "deliveries": deliveries, "first": first, "last": last}
    record(session, BATCH, f"batch:{part.batch_id}", body, created)
    return Raised(number, deliveries)


def not_raised() -> ColumnElement[bool]:
    """SQL that says of a ``Screening`` row that no alert was raised of it."""
    return ~exists().where(Alert.id == Screening.id)


def _own_moment(session: Session, part: Part, at: datetime) -> datetime:
    """``at``, or the next microsecond at which nothing of ``part`` was raised: by it alerts raised together are told
    from those between them that came at another time, and a clock may stand or be set back."""
    taken = {one.at for one in of_batch(session, part.batch_id) if one.meets(part.first, part.last)}
    while at in taken:
        at += _NEXT
    return at


def _parts(session: Session, batch_id: str) -> Iterator[Part]:
    """What is to be raised of a batch, cut so that no part holds many more than ``_PART``."""
    number, first, last = session.execute(
        select(func.count(), func.min(Screening.id), func.max(Screening.id)).where(
            Screening.batch_id == batch_id, Screening.state == "passed", not_raised()
        )
    ).one()
    if number:
        width = -(-(last - first + 1) // -(-number // _PART))
        for start in range(first, last + 1, width):
            yield Part(batch_id, start, start + width - 1)


def _rows(result: Result[Any]) -> int:
    return cast("CursorResult[Any]", result).rowcount
