"""What a notice of error is open against, as the database asks for it.

The rule of this module: nobody is told of a disputed fact until the notice is decided.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, exists, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from duecare.radar.models import Screening
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


def undisputed(session: Session, alert: InstrumentedAttribute[Any]) -> ColumnElement[bool]:
    """SQL that says of a delivery, by its column ``alert``, that no notice of error is open against what it tells.

    The few alerts that are disputed are named in it: what is asked of every delivery must cost nothing.
    """
    open_ones = select(Dispute.entity).where(Dispute.closed_at.is_(None))
    found = session.scalars(select(Screening.id).where(Screening.entity.in_(open_ones), disputed())).all()
    return or_(alert.is_(None), alert.not_in(found)) if found else true()
