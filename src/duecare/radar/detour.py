"""The way round: a correction that cannot go to the address that told the error goes to the message centre.

Every member has one. An address may have ended before the correction was filed, or end before it is sent; a mail server
may refuse it for good. Only who has left has no centre any more.

The rule of this module: whoever was told finds the correction, once in their centre, however many of their addresses
failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, case, exists, func, insert, literal, select
from sqlalchemy.orm import Session, aliased

from duecare.radar.models import AddressState, Alert, ChannelAddress, Delivery, DeliveryMode, DeliveryState, delivery_id

CENTRE = "centre"
"""The channel that every member has."""

COLUMNS = (
    "id", "alert_id", "member_id", "address_id", "channel", "state", "mode", "attempts", "created_at", "next_at",
    "unanswered", "last_error",
)  # fmt: skip
"""Of a new delivery of a correction: ``owed`` gives their values."""


def owed(
    correction_id: int, member_id: Any, address_id: Any, channel: Any, state: ColumnElement[str], now: datetime
) -> tuple[Any, ...]:
    """A delivery of the correction that was not tried yet. Corrections go out by themselves: a wrong word about a
    company does its harm by the hour."""
    alert, at = literal(correction_id), literal(now, Delivery.created_at.type)
    new = (literal(DeliveryMode.REALTIME.value), literal(0), at, at, literal(False), literal(""))
    return (delivery_id(alert, address_id), alert, member_id, address_id, channel, state, *new)


def to_centre(session: Session, correction_id: int, members: Select[int, bool], now: datetime) -> list[int]:
    """Owe the correction to the centres of ``members`` (id, whether they were told for certain), where it is not owed
    there already; the members who have a centre."""
    asked = members.subquery()
    member_id, certain = asked.c
    centre, there = aliased(ChannelAddress), aliased(Delivery)
    first = (
        select(centre.member_id, func.min(centre.id).label("address_id"))
        .where(centre.channel == CENTRE, centre.state == AddressState.ACTIVE.value)
        .where(centre.member_id.in_(select(member_id)))
        .group_by(centre.member_id)
        .subquery()
    )
    state = case((certain, DeliveryState.DUE.value), else_=DeliveryState.WAITING.value)
    session.execute(
        insert(Delivery).from_select(
            COLUMNS,
            select(*owed(correction_id, first.c.member_id, first.c.address_id, literal(CENTRE), state, now))
            .join(asked, member_id == first.c.member_id)
            .where(~exists().where(there.id == delivery_id(correction_id, first.c.address_id))),
        )
    )
    return list(session.scalars(select(first.c.member_id).order_by(first.c.member_id)))


def send_round(session: Session, ids: Sequence[int], now: datetime) -> None:
    """Of the deliveries ``ids``, which were given up or cancelled: the corrections among them go to the centre."""
    failed = select(Delivery.alert_id, Delivery.member_id).join(Alert, Alert.id == Delivery.alert_id)
    failed = failed.where(Delivery.id.in_(ids), Delivery.channel != CENTRE, Alert.corrects_id.is_not(None))
    for alert, member in session.execute(failed).all():
        asked = select(literal(member).label("member_id"), literal(True).label("certain"))
        to_centre(session, int(alert or 0), asked, now)
