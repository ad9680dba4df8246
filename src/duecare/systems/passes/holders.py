"""Finding a holder: by card, by subject, by the ID card in their hand; and how their pass stands.

The rule of this module: a person is found by an exact number that they show, through the vault's blind index, and that
leaves evidence like every other opening.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from duecare.consent import subjects
from duecare.errors import UnknownName, UseError
from duecare.store.database import alone
from duecare.systems.passes.cards import card_number, digest, id_card_number
from duecare.systems.passes.models import Card, Holder, Pass, Period
from duecare.systems.passes.park import Park
from duecare.systems.passes.products import Product, product
from duecare.systems.passes.purposes import CONTRACT
from duecare.vault.entries import committed


@dataclass(frozen=True)
class Held:
    """A holder with their pass and its periods, the first one first."""

    holder: Holder
    sold: Pass
    periods: tuple[Period, ...]

    @property
    def product(self) -> Product:
        """What was sold."""
        return product(self.sold.product)

    @property
    def latest(self) -> Period:
        """The period that was paid last, which may not have begun."""
        return self.periods[-1]

    @property
    def stays(self) -> bool:
        """Whether they have the pass still: they were neither refunded nor erased."""
        return self.holder.left_on is None and (self.holder.subject is not None or not self.product.named)

    def fault(self, day: date) -> str:
        """Why the pass opens no gate on ``day``, as the id of a word of a gate; empty if it is valid.

        The day of a refund counts as used (``refunds``): it was paid for, and is valid to its end.
        """
        if self.holder.left_on is not None and day > self.holder.left_on:
            return "gate.refunded"
        if any(period.first <= day <= period.last for period in self.periods):
            return ""
        return "gate.not_yet_valid" if day < self.periods[0].first else "gate.expired"


def by_card(session: Session, card: str) -> tuple[Card, Held] | None:
    """The card of a digest, with its holder."""
    row = session.get(Card, card)
    if row is None:
        return None
    return row, held(session, row.holder_id)


def held(session: Session, holder_id: int) -> Held:
    """The holder of an id. Raises ``UnknownName``."""
    holder = session.get(Holder, holder_id)
    if holder is None:
        raise UnknownName("holder", str(holder_id), None)
    return _held(session, holder)


def by_subject(session: Session, subject: str) -> Held:
    """The holder who is ``subject``. Raises ``UnknownName``."""
    holder = session.scalar(select(Holder).where(Holder.subject == subject))
    if holder is None:
        raise UnknownName("holder", subject, None)
    return _held(session, holder)


def of_pass(session: Session, pass_id: str) -> list[Held]:
    """All who share a pass. Raises ``UnknownName``."""
    found = session.scalars(select(Holder).where(Holder.pass_id == pass_id).order_by(Holder.id)).all()
    if not found:
        raise UnknownName("pass", pass_id, None)
    return [_held(session, holder) for holder in found]


def card_commitment(session: Session, subject: str, card: str) -> str:
    """What stands in the log for the card (digest) of a subject: nobody can tell which it was once their salt is gone.

    Raises ``UnknownName``, ``UseError`` where it is.
    """
    subjects.commitment(session, subject)
    return committed(card, subjects.subject(session, subject).salt or "")


def with_a_pass(day: date) -> Select[str | None]:
    """Who on ``day`` has a pass that is valid or will be, as a select of subjects."""
    return (
        select(Holder.subject)
        .join(Period, Period.pass_id == Holder.pass_id)
        .where(Holder.subject.is_not(None), Holder.left_on.is_(None), Period.last >= day)
    )


def require_valid(held: Held, day: date) -> None:
    """Raise ``UseError`` where there is no pass on ``day`` that anything could be taken for."""
    if held.holder.left_on is not None or held.fault(day) not in ("", "gate.not_yet_valid"):
        over = held.holder.left_on or held.latest.last
        raise UseError(
            f"The pass {held.sold.id} ended on {over}, and nothing is taken for it any more.",
            hint="Renew it first, or sell a new one.",
        )


def lock_pass(session: Session, pass_id: str) -> None:
    """Let nobody else change the pass or who holds it until the transaction ends; called before either is read."""
    alone(session, f"pass:{pass_id}")


def lock(session: Session, subject: str) -> None:
    """The same of the pass of ``subject``, of whom nothing is agreed to, ended or erased meanwhile either.

    Raises ``UnknownName`` where they hold none, or everything of them has been erased.
    """
    theirs = select(Holder.pass_id).where(Holder.subject == subject)
    pass_id = session.scalar(theirs)
    if pass_id is not None:
        lock_pass(session, pass_id)
        subjects.lock(session, subject)
    if pass_id is None or session.scalar(theirs) is None:
        raise UnknownName("holder", subject, None)


def identify(park: Park, id_number: str, actor: str, *, pass_id: str = "") -> str:
    """The subject whose ID card is shown, of several passes the one called ``pass_id``.

    Raises ``BadInput``; ``UseError`` where nobody is found, or several and no pass is named. Neither repeats the
    number.
    """
    found = park.vault.find_all("id_number", id_card_number(id_number), CONTRACT, actor)
    with park.home.database.session() as session:
        rows = session.scalars(select(Holder).where(Holder.subject.in_(found)).order_by(Holder.id)).all()
        mine = [row for row in rows if row.pass_id == pass_id or not pass_id]
    if not mine:
        raise UseError("No pass is held by the person with this ID card.", hint="Read the ID card again.")
    if len(mine) > 1:
        names = ", ".join(row.pass_id for row in mine)
        raise UseError("The person with this ID card holds several passes.", hint=f"Name one of them: {names}.")
    return str(mine[0].subject)


def authenticate(park: Park, card: str, id_number: str, actor: str) -> str:
    """The subject who shows a card and the ID card that belongs to it. Raises ``UseError`` that does not say which of
    the two is wrong, ``BadInput`` where either cannot be read."""
    shown, number = digest(card_number(card)), id_card_number(id_number)
    with park.home.database.session() as session:
        found = by_card(session, shown)
        subject = found[1].holder.subject if found and found[0].lost_at is None else None
    if subject is None or subject not in park.vault.find_all("id_number", number, CONTRACT, actor):
        raise UseError("This card and this ID card do not belong together.", hint="Ask at the pass centre.")
    return subject


def _held(session: Session, holder: Holder) -> Held:
    sold = session.get_one(Pass, holder.pass_id)
    periods = select(Period).where(Period.pass_id == holder.pass_id).order_by(Period.number)
    return Held(holder, sold, tuple(session.scalars(periods)))
