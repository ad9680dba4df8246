"""Alerts: what passed the screen becomes news, and each watcher becomes owed a delivery, in one transaction.

Both steps are one ``INSERT … SELECT`` each, so that a hundred thousand changes meet a million watches at the speed of
the join (the transactional outbox: an alert without its deliveries cannot exist).

The rule of this module: only a screening that passed becomes an alert, and it becomes one once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, cast

from sqlalchemy import Boolean, CursorResult, Result, bindparam, text
from sqlalchemy.orm import Session

from duecare.evidence.outbox import record
from duecare.store.database import Moment

_ALERTS = text(
    """
    INSERT INTO alerts (change_id, batch_id, entity, name, source, section, fact_key, kind, category, risk, before,
                        after, effective_on, not_before, not_after, snapshot, address, verification, verification_id,
                        reasons, created_at, state)
    SELECT s.change_id, s.batch_id, s.entity, s.name, s.source, s.section, s.fact_key, s.kind, s.category, s.risk,
           s.before, s.after, s.effective_on, s.not_before, s.not_after, s.snapshot, coalesce(v.address, ''),
           s.verification, v.id, s.reasons, :at, 'sent'
    FROM screenings s
    LEFT JOIN (SELECT change_id, max(id) AS id FROM verifications GROUP BY change_id) last
           ON last.change_id = s.change_id AND s.verification <> 'none'
    LEFT JOIN verifications v ON v.id = last.id
    WHERE s.batch_id = :batch AND s.state = 'passed'
    ON CONFLICT (change_id) DO NOTHING
    """
).bindparams(bindparam("at", type_=Moment()))

# CROSS JOIN: SQLite then keeps this order, from the few new alerts to the many watches; PostgreSQL finds its own.
_DELIVERIES = text(
    """
    INSERT INTO deliveries (alert_id, member_id, address_id, channel, mode, state, attempts, created_at, next_at,
                            unanswered, last_error)
    SELECT a.id, w.member_id, c.id, c.channel, CASE WHEN w.realtime THEN 'realtime' ELSE 'digest' END, 'due', 0,
           :at, :at, :false, ''
    FROM alerts a CROSS JOIN watches w CROSS JOIN channel_addresses c
    WHERE a.id > :known AND a.batch_id = :batch AND a.corrects_id IS NULL
      AND w.entity = a.entity AND w.ended_at IS NULL AND (w.source IS NULL OR w.source = a.source)
      AND (w.categories = '' OR w.categories LIKE '%,' || a.category || ',%')
      AND c.member_id = w.member_id AND c.state = 'active'
      AND (w.channels = '' OR w.channels LIKE '%,' || c.channel || ',%')
    ON CONFLICT (alert_id, address_id) DO NOTHING
    """
).bindparams(bindparam("at", type_=Moment()), bindparam("false", type_=Boolean()))


@dataclass(frozen=True)
class Raised:
    """How many alerts were raised and how many deliveries are owed for them."""

    alerts: int
    deliveries: int


def raise_alerts(session: Session, batch_id: str, *, at: datetime) -> Raised:
    """Raise an alert for each screening of the batch that passed and has none; owe it to everyone who watches now.

    Part of the caller's transaction. Run again, it raises nothing twice: a watch that began after an alert was raised
    is not told of it. ``at`` is aware. The evidence of it (``batch:alert``) names the alerts by one hash.
    """
    known = session.scalar(text("SELECT coalesce(max(id), 0) FROM alerts"))
    alerts = _rows(session.execute(_ALERTS, {"batch": batch_id, "at": at}))
    if not alerts:
        return Raised(0, 0)
    owed = _rows(session.execute(_DELIVERIES, {"batch": batch_id, "at": at, "known": known, "false": False}))
    changes = session.scalars(
        text("SELECT change_id FROM alerts WHERE batch_id = :batch AND id > :known ORDER BY change_id"),
        {"batch": batch_id, "known": known},
    )
    names = sha256("\n".join(changes).encode()).hexdigest()
    body = {"batch": batch_id, "alerts": alerts, "deliveries": owed, "changes_sha256": names}
    record(session, "batch:alert", f"batch:{batch_id}", body, at)
    return Raised(alerts, owed)


def _rows(result: Result[Any]) -> int:
    return cast("CursorResult[Any]", result).rowcount
