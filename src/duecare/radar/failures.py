"""Failures of delivery: what was given up, and what is to be tried again, for the operator.

The rule of this module: nothing that failed is silent, whether it is over or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from duecare.radar.models import Alert, Delivery, DeliveryMode, DeliveryState, Digest, Member


@dataclass(frozen=True)
class Failure:
    """A delivery of which an attempt failed. ``next_at``: when it is tried again; none where it was given up.

    ``delivery_id``: in digits, as evidence names it (``called``); many readers of JSON would round the number.
    """

    delivery_id: str
    member: str
    channel: str
    what: str
    attempts: int
    since: datetime | None
    error: str
    next_at: datetime | None = None


def failures(session: Session, *, over: bool = True) -> list[Failure]:
    """What was given up, latest first; with ``over=False`` what is to be tried again, the next first. The alerts in a
    digest are counted with the digest."""
    columns = (Delivery, Member.name, Alert.name, Alert.section, Digest.day)
    asked = (
        select(*columns)
        .join(Member, Member.id == Delivery.member_id)
        .outerjoin(Alert, Alert.id == Delivery.alert_id)
        .outerjoin(Digest, Digest.id == Delivery.digest_id)
        .where(Delivery.mode != DeliveryMode.DIGEST.value)
    )
    if over:
        asked = asked.where(Delivery.state == DeliveryState.GIVEN_UP.value)
        asked = asked.order_by(Delivery.created_at.desc(), Delivery.id.desc())
    else:
        asked = asked.where(Delivery.state == DeliveryState.DUE.value, Delivery.attempts > 0)
        asked = asked.order_by(Delivery.next_at, Delivery.id)
    return [
        Failure(
            str(row.id),
            member,
            row.channel,
            f"digest of {day}" if row.alert_id is None else f"{name}: {section}",
            row.attempts,
            row.first_tried_at,
            row.last_error,
            None if over else row.next_at,
        )
        for row, member, name, section, day in session.execute(asked)
    ]
