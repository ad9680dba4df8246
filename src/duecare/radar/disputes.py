"""What a notice of error is open against, as the database asks for it.

The rule of this module: nobody is told of a disputed fact until the notice is decided.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, exists, or_, select, true
from sqlalchemy.orm import Session, aliased

from duecare.radar.models import Delivery, DeliveryMode, Screening
from duecare.registers.models import Dispute


def disputed() -> ColumnElement[bool]:
    """SQL that says of a ``Screening`` row whether a notice of error is open against its fact."""
    return exists().where(
        Dispute.closed_at.is_(None),
        Dispute.source == Screening.source,
        Dispute.entity == Screening.entity,
        Dispute.section == Screening.section,
        or_(Dispute.key == Screening.key, Dispute.key == ""),
    )


def disputed_alerts(session: Session) -> Sequence[int]:
    """The ids of the alerts that tell of a disputed fact, in order."""
    open_ones = select(Dispute.entity).where(Dispute.closed_at.is_(None))
    asked = select(Screening.id).where(Screening.entity.in_(open_ones), disputed()).order_by(Screening.id)
    return session.scalars(asked).all()


def undisputed(session: Session) -> ColumnElement[bool]:
    """SQL that says of a delivery that no notice of error is open against what it tells, or what the digest tells that
    it carries.

    The few alerts that are disputed are named in it: what is asked of every delivery must cost nothing.
    """
    found = disputed_alerts(session)
    if not found:
        return true()
    inside = aliased(Delivery)
    within = exists().where(
        inside.digest_id == Delivery.digest_id,
        inside.mode == DeliveryMode.DIGEST.value,
        inside.alert_id.in_(found),
    )
    return and_(
        or_(Delivery.alert_id.is_(None), Delivery.alert_id.not_in(found)),
        or_(Delivery.mode != DeliveryMode.CARRIER.value, ~within),
    )
