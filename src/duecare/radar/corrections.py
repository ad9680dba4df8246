"""Corrections: a wrong alert is taken back before exactly those who were told, through the channels that told them.

In case 1 the operator deleted the item and told nobody; the court ordered a clarification in the same scope. The scope
is known here: the deliveries of an alert are the list of those who must hear its correction.

The rule of this module: whoever was told, or may have been, hears the correction, and nobody else. What is still due is
cancelled in the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, exists, func, insert, literal, select, update
from sqlalchemy.orm import Session, aliased

from duecare.errors import BadInput, UnknownName, UseError
from duecare.evidence.outbox import record
from duecare.radar.models import (
    AddressState,
    Alert,
    AlertState,
    ChannelAddress,
    Delivery,
    DeliveryMode,
    DeliveryState,
    may_have_been_told,
)
from duecare.radar.watches import CENTRE
from duecare.store.home import Home


@dataclass(frozen=True)
class Correction:
    """What a retraction did. ``correction`` is the id of the new alert, none where nobody had been told yet.

    ``recipients`` counts the deliveries that carry it, ``cancelled`` those of the original that never left,
    ``rerouted`` names the members whose address has ended and who find it in the message centre instead. ``left``
    counts those who have left since: nobody knows any more who they were, and no correction can reach them.
    """

    alert: int
    correction: int | None
    recipients: int
    cancelled: int
    rerouted: tuple[int, ...]
    left: int = 0

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
    # First the cancellation: a worker that has just claimed a delivery holds its row, and is waited for here; what it
    # claimed is "sending" afterwards and counts as told.
    cancelled = session.execute(
        update(Delivery)
        .where(Delivery.alert_id == alert.id, Delivery.state == DeliveryState.DUE.value)
        .values(state=DeliveryState.CANCELLED.value)
        .execution_options(synchronize_session=False)
    )
    number_cancelled = int(getattr(cancelled, "rowcount", 0))
    told = session.execute(select(func.count()).where(Delivery.alert_id == alert.id, may_have_been_told())).scalar_one()
    correction: Alert | None = None
    recipients, rerouted, left = 0, tuple[int, ...](), 0
    if told:
        correction = _correction_of(alert, reason, reason_en or reason, now)
        session.add(correction)
        session.flush()
        rerouted, left = _address_correction(session, alert, correction, now)
        recipients = session.execute(select(func.count()).where(Delivery.alert_id == correction.id)).scalar_one()
    alert.state = AlertState.CORRECTED.value if told else AlertState.WITHDRAWN.value
    body = {
        "alert": alert.id,
        "change": alert.change_id,
        "correction": correction.id if correction else None,
        "recipients": recipients,
        "cancelled": number_cancelled,
        "rerouted": len(rerouted),
        "left": left,
        "by": who,
        "reason": reason,
    }
    record(session, "alert:correct", f"alert:{alert.id}", body, now)
    return Correction(alert.id, correction.id if correction else None, recipients, number_cancelled, rerouted, left)


def _correction_of(alert: Alert, zh: str, en: str, now: Any) -> Alert:
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


def _address_correction(session: Session, alert: Alert, correction: Alert, now: Any) -> tuple[tuple[int, ...], int]:
    """One delivery for each that told the original, as set work; returns the members whose address has ended, and how
    many have left.

    A watch that has ended since, and a digest that carried the original, make no difference: the correction goes out
    at once, by the same channel, for a wrong word about a company does its harm by the hour.
    """
    target = ("alert_id", "member_id", "address_id", "channel", "mode", "state", "attempts", "created_at", "next_at",
              "unanswered", "last_error")  # fmt: skip
    fixed = (
        literal(DeliveryMode.REALTIME.value),
        literal(DeliveryState.DUE.value),
        literal(0),
        literal(now, Delivery.created_at.type),
        literal(now, Delivery.next_at.type),
        literal(False),
        literal(""),
    )
    was_told = and_(Delivery.alert_id == alert.id, may_have_been_told())
    active = ChannelAddress.state == AddressState.ACTIVE.value
    session.execute(
        insert(Delivery).from_select(
            target,
            select(literal(correction.id), Delivery.member_id, ChannelAddress.id, ChannelAddress.channel, *fixed)
            .join(ChannelAddress, ChannelAddress.id == Delivery.address_id)
            .where(was_told, active),
        )
    )
    ended = (
        select(Delivery.member_id)
        .join(ChannelAddress, ChannelAddress.id == Delivery.address_id)
        .where(was_told, ~active)
        .distinct()
    )
    without = set(session.execute(ended).scalars())
    if not without:
        return (), 0
    centre, there = aliased(ChannelAddress), aliased(Delivery)
    first = (
        select(func.min(centre.id))
        .where(centre.channel == CENTRE, centre.state == AddressState.ACTIVE.value, centre.member_id.in_(ended))
        .group_by(centre.member_id)
    )
    session.execute(
        insert(Delivery).from_select(
            target,
            select(
                literal(correction.id), ChannelAddress.member_id, ChannelAddress.id, ChannelAddress.channel, *fixed
            ).where(
                ChannelAddress.id.in_(first),
                ~exists().where(there.alert_id == correction.id, there.address_id == ChannelAddress.id),
            ),
        )
    )
    rerouted = tuple(
        session.execute(
            select(ChannelAddress.member_id).where(ChannelAddress.id.in_(first)).order_by(ChannelAddress.member_id)
        ).scalars()
    )
    return rerouted, len(without) - len(rerouted)
