"""What a recipient of a correction was told before: the wrong alert, when, and by which delivery.

The rule of this module: a correction speaks of what this recipient was told, not of what was told in general.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from duecare.radar.models import Alert, Delivery, Digest, alerts_at_once, may_have_been_told, of_alerts
from duecare.store.database import parts


@dataclass(frozen=True)
class Told:
    """The alert that was wrong, when this reader was told (none: perhaps never), and the delivery that carried it: its
    id, and when it was made."""

    alert: Alert
    at: datetime | None = None
    delivery: tuple[int, datetime] | None = None


def told_before(session: Session, corrections: Sequence[tuple[Alert, Delivery]]) -> dict[int, Told]:
    """Delivery id of a correction → what it corrects. Deliveries of alerts that correct nothing are left out.

    Whoever was told at an address that has ended hears the correction at another; theirs is found by the member.
    """
    wanted = {alert.corrects_id for alert, _ in corrections if alert.corrects_id is not None}
    if not wanted:
        return {}
    originals = {alert.id: alert for alert in session.scalars(select(Alert).where(Alert.id.in_(wanted)))}
    members = {delivery.member_id for _, delivery in corrections}
    earlier = list[Delivery]()
    for part in alerts_at_once(wanted):
        asked = select(Delivery).where(of_alerts(part), Delivery.member_id.in_(members), may_have_been_told())
        earlier += session.scalars(asked)
    earlier.sort(key=lambda delivery: -delivery.id)  # of several of one member the first comes last, and is taken
    by_member = {(delivery.alert_id, delivery.member_id): delivery for delivery in earlier}
    by_address = {(delivery.alert_id, delivery.address_id): delivery for delivery in earlier}
    carried = {delivery.digest_id for delivery in earlier if delivery.digest_id is not None}
    made = {
        row.id: row.created_at
        for part in parts(sorted(carried))
        for row in session.execute(select(Digest.id, Digest.created_at).where(Digest.id.in_(part)))
    }
    found: dict[int, Told] = {}
    for alert, delivery in corrections:
        if alert.corrects_id not in originals:
            continue
        first = by_address.get((alert.corrects_id, delivery.address_id)) or by_member.get(
            (alert.corrects_id, delivery.member_id)
        )
        original = originals[alert.corrects_id]
        found[delivery.id] = Told(original, first.sent_at, _carrier(first, made)) if first else Told(original)
    return found


def _carrier(first: Delivery, made: Mapping[int, datetime]) -> tuple[int, datetime] | None:
    """What left to the reader: the delivery itself, or the digest that carried it, where that is there still."""
    if first.digest_id is None:
        return first.id, first.created_at
    return (first.digest_id, made[first.digest_id]) if first.digest_id in made else None
