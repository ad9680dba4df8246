"""What a restored centre lacks: passes and cards that the log knows and its database has not.

Who bought a pass is sealed, and gone with the database that was lost; the log names nobody. So a pass that was sold
after the backup is not there any more, and its cards open nothing until new ones were issued at the pass centre.

The rule of this module: what is missing is said by name as long as anybody may come and ask for it.
"""

from __future__ import annotations

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from duecare.consent.models import NoticeVersion
from duecare.systems.passes.methods import CARD_ID_CARD
from duecare.systems.passes.models import Card, Clerk, Holder, Pass
from duecare.systems.passes.park import Park
from duecare.vault import copies
from duecare.vault.copies import Missing

PASS, CARD, WAY, CLERK, VERSION = "pass", "card", "enrolment", "clerk", "notice"
"""What can be missing: a pass that was sold, a card that was issued for one that is known, the enrolment of one of its
holders, the key of a clerk, a version of the notice."""


def lacking(session: Session, park: Park) -> list[Missing]:
    """What is missing since any restore, and still of use to somebody, oldest first."""
    return [each for each in copies.missing(session, park.vault.log.key.name) if _asked_for(session, park, each)]


def any_card(session: Session, park: Park) -> bool:
    """Whether cards may be shown at a gate that were issued and are not known."""
    return any(each.what in (PASS, CARD) for each in lacking(session, park))


def _asked_for(session: Session, park: Park, each: Missing) -> bool:
    if each.until is not None and each.until < park.today():
        return False
    if each.what == PASS:
        return session.get(Pass, each.name) is None  # a newer copy was put back since
    if each.what == CARD:
        bare = ~exists().where(Card.holder_id == Holder.id, Card.lost_at.is_(None))
        asked = select(Holder.id).where(Holder.pass_id == each.name, Holder.subject.is_not(None), bare)
        return session.scalar(asked.limit(1)) is not None
    if each.what == CLERK:
        row = session.get(Clerk, each.name)
        return row is None or row.ended_at is not None
    if each.what == WAY:
        without = (Holder.method == CARD_ID_CARD.name) & Holder.subject.is_not(None) & Holder.left_on.is_(None)
        return session.scalar(select(Holder.id).where(Holder.pass_id == each.name, without).limit(1)) is not None
    name, number = each.name.rsplit(" ", 1)
    return session.get(NoticeVersion, (name, int(number))) is None
