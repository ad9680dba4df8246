"""What a restored centre lacks: passes and cards that the log knows and its database has not.

Who bought a pass is sealed, and gone with the database that was lost; the log names nobody. So a pass that was sold
after the backup is not there any more, and its cards open nothing until new ones were issued at the pass centre.

The rule of this module: what is missing is said by name as long as anybody may come and ask for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from duecare.consent import subjects
from duecare.consent.models import NoticeVersion
from duecare.evidence.outbox import EvidenceEntry
from duecare.systems.passes import holders
from duecare.systems.passes.holders import Held
from duecare.systems.passes.methods import CARD_ID_CARD, METHODS
from duecare.systems.passes.models import Card, Clerk, Pass
from duecare.systems.passes.park import Park
from duecare.vault import copies
from duecare.vault.copies import Missing

PASS, CARD, WAY, CLERK, VERSION = "pass", "card", "enrolment", "clerk", "notice"
"""What can be missing: a pass that was sold, a card that was issued for one that is known, the enrolment of one of its
holders, the key of a clerk, a version of the notice."""


def lacking(session: Session, park: Park) -> list[Missing]:
    """What is missing since any restore, and still of use to somebody, oldest first."""
    return list(_lacking(session, park))


def any_card(session: Session, park: Park) -> bool:
    """Whether cards may be shown at a gate that were issued and are not known."""
    return any(each.what in (PASS, CARD) for each in _lacking(session, park))


def _lacking(session: Session, park: Park) -> Iterator[Missing]:
    for each in copies.missing(session, park.vault.log.key.name):
        if each.what in (CARD, WAY):
            yield from _of_holders(session, park, each)
        elif _asked_for(session, park, each):
            yield each


def _asked_for(session: Session, park: Park, each: Missing) -> bool:
    if each.until is not None and each.until < park.today():
        return False
    if each.what == PASS:
        return session.get(Pass, each.name) is None  # a newer copy was put back since
    if each.what == CLERK:
        row = session.get(Clerk, each.name)
        return row is None or row.ended_at is not None
    name, number = each.name.rsplit(" ", 1)
    return session.get(NoticeVersion, (name, int(number))) is None


def _of_holders(session: Session, park: Park, each: Missing) -> Iterator[Missing]:
    """What those who hold a pass that is known are without now, until the day on which it ends now."""
    if session.get(Pass, each.name) is None:
        return  # an older copy was put back since: the pass is what is missing
    stay = [held for held in holders.of_pass(session, each.name) if held.holder.subject is not None and held.stays]
    without = _without_card if each.what == CARD else _without_way
    count = sum(without(session, held) for held in stay)
    if count and stay[0].latest.last >= park.today():
        yield replace(each, count=count, until=stay[0].latest.last)


def _without_card(session: Session, held: Held) -> bool:
    good = exists().where(Card.holder_id == held.holder.id, Card.lost_at.is_(None))
    return not session.scalar(select(good))


def _without_way(session: Session, held: Held) -> bool:
    """Whether they agreed to biometrics last, and have card and ID card in their place."""
    if held.holder.method != CARD_ID_CARD.name:
        return False
    mine, of_pass = (
        subjects.commitment(session, str(held.holder.subject)),
        EvidenceEntry.subject == f"pass:{held.sold.id}",
    )
    asked = select(EvidenceEntry.body).where(of_pass, EvidenceEntry.kind == "pass:method").order_by(EvidenceEntry.id)
    said = [body for body in map(json.loads, session.scalars(asked)) if body["holder"] == mine]
    return bool(said) and METHODS[said[-1]["to"]].biometric
