"""Corrections: a wrong alert is taken back before exactly those who were told, through the channels that told them.

In case 1 the operator deleted the item and told nobody; the court ordered a clarification in the same scope. The scope
is known here: the deliveries of an alert are the list of those who must hear its correction.

The rule of this module: whoever was told, or may have been, hears the correction, and nobody else. What is still due is
cancelled in the same transaction; what is on its way decides by its outcome (``in_flight.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, insert, select, true
from sqlalchemy.orm import Session

from duecare.errors import BadInput, UnknownName, UseError
from duecare.evidence.outbox import record
from duecare.radar.contents import contents
from duecare.radar.detour import COLUMNS, owed, to_centre
from duecare.radar.in_flight import stop
from duecare.radar.models import (
    AddressState,
    Alert,
    AlertState,
    ChannelAddress,
    Delivery,
    DeliveryState,
    may_have_been_told,
    of_alert,
)
from duecare.store.home import Home


@dataclass(frozen=True)
class Correction:
    """What a retraction did. ``correction`` is the id of the new alert, none where nobody had been told yet.

    ``recipients`` counts the deliveries that carry it, ``waiting`` those of them whose reader is just being told and
    who hear it only if they were; ``cancelled`` counts the deliveries of the original that never left,
    ``rerouted`` names the members whose address has ended and who find it in the message centre instead. ``left``
    counts those who have left since: nobody knows any more who they were, and no correction can reach them.
    """

    alert: int
    correction: int | None
    recipients: int
    cancelled: int
    rerouted: tuple[int, ...]
    left: int = 0
    waiting: int = 0

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**self.__dict__, "rerouted": list(self.rerouted)}


def retract(home: Home, alert_id: int, reason: str, who: str, *, reason_en: str = "") -> Correction:
    """Take a wrong alert back. ``reason`` is told to its recipients (``reason_en``: to those who read English).

    Raises ``UnknownName``, ``BadInput`` without a reason or a name, ``UseError`` where it was taken back already.
    """
    for name, given in (("reason", reason), ("who", who)):
        if not given.strip():
            raise BadInput(f"{name} is empty.", hint="Say why the alert was wrong and who says so; both are kept.")
    with home.database.session() as session:
        alert = session.get(Alert, alert_id, with_for_update=True)
        if alert is None:
            recent = session.execute(select(Alert.id).order_by(Alert.id.desc()).limit(12)).scalars()
            raise UnknownName("alert", str(alert_id), [str(each) for each in recent])
        return correct(home, session, alert, reason, who, reason_en=reason_en)


def correct(home: Home, session: Session, alert: Alert, reason: str, who: str, *, reason_en: str = "") -> Correction:
    """The same within the caller's transaction."""
    if alert.corrects_id is not None:
        raise UseError(f"Alert {alert.id} is itself a correction.", hint=f"It corrects alert {alert.corrects_id}.")
    if alert.state != AlertState.SENT.value:
        raise UseError(f"Alert {alert.id} was {alert.state} already.", hint="There is nothing left to take back.")
    now = home.clock.now()
    done = take_back(session, alert, reason, reason_en or reason, now)
    body: dict[str, Any] = {
        "alert": alert.id,
        "change": alert.change_id,
        "correction": done.correction,
        "recipients": done.recipients,
        "cancelled": done.cancelled,
        "rerouted": len(done.rerouted),
        "left": done.left,
        "waiting": done.waiting,
        "by": who,
        "reason": reason,
        "reason_en": reason_en or reason,
    }
    if done.correction is not None:
        body["contents"] = contents(session, Alert.id == done.correction).as_json()
    record(session, "alert:correct", f"alert:{alert.id}", body, now)
    return done


def take_back(session: Session, alert: Alert, reason: str, reason_en: str, now: datetime) -> Correction:
    """Stop what is due of a wrong alert, and owe its correction to those who were or may have been told; in the
    caller's transaction, who leaves the evidence."""
    alert.state = AlertState.CORRECTED.value
    session.flush()
    before = _count(session, alert.id, Delivery.state == DeliveryState.CANCELLED.value)
    stop(session, alert, now)
    told = _count(session, alert.id, may_have_been_told())
    cancelled = _count(session, alert.id, Delivery.state == DeliveryState.CANCELLED.value) - before
    correction: Alert | None = None
    recipients, waiting, rerouted, left = 0, 0, tuple[int, ...](), 0
    if told:
        correction = _correction_of(alert, reason, reason_en, now)
        session.add(correction)
        session.flush()
        rerouted, left = _address_correction(session, alert, correction, now)
        recipients = _count(session, correction.id, true())
        waiting = _count(session, correction.id, Delivery.state == DeliveryState.WAITING.value)
    else:
        alert.state = AlertState.WITHDRAWN.value
    number = correction.id if correction else None
    return Correction(alert.id, number, recipients, cancelled, rerouted, left, waiting)


def _count(session: Session, alert_id: int, which: ColumnElement[bool]) -> int:
    return session.execute(select(func.count()).where(of_alert(alert_id), which)).scalar_one()


def _correction_of(alert: Alert, zh: str, en: str, now: datetime) -> Alert:
    """The alert that says that ``alert`` was wrong."""
    kept = (
        "batch_id", "entity", "name", "source", "section", "key", "category", "risk", "before", "after",
        "effective_on", "not_before", "not_after", "snapshot", "address", "verification", "verification_id", "reasons",
    )  # fmt: skip
    return Alert(
        **{name: getattr(alert, name) for name in kept},
        id=-alert.id,
        change_id=f"correct:{alert.id}",
        kind="correction",
        created_at=now,
        state=AlertState.SENT.value,
        corrects_id=alert.id,
        wording={"zh": zh, "en": en},
    )


def _address_correction(
    session: Session, alert: Alert, correction: Alert, now: datetime
) -> tuple[tuple[int, ...], int]:
    """One delivery for each that told the original, as set work; returns the members whose address has ended, and how
    many have left. A watch that has ended since, and a digest that carried the original, make no difference."""
    certain = Delivery.state != DeliveryState.SENDING.value
    was_told = and_(of_alert(alert.id), may_have_been_told())
    active = ChannelAddress.state == AddressState.ACTIVE.value
    state = case((certain, DeliveryState.DUE.value), else_=DeliveryState.WAITING.value)
    session.execute(
        insert(Delivery).from_select(
            COLUMNS,
            select(*owed(correction.id, Delivery.member_id, ChannelAddress.id, ChannelAddress.channel, state, now))
            .join(ChannelAddress, ChannelAddress.id == Delivery.address_id)
            .where(was_told, active),
        )
    )
    ended = (
        select(Delivery.member_id, (func.max(case((certain, 1), else_=0)) == 1).label("certain"))
        .join(ChannelAddress, ChannelAddress.id == Delivery.address_id)
        .where(was_told, ~active)
        .group_by(Delivery.member_id)
    )
    without = len(session.execute(ended).all())
    if not without:
        return (), 0
    rerouted = to_centre(session, correction.id, ended, now)
    return tuple(rerouted), without - len(rerouted)
