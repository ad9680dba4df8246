"""A change of the ways in: a new version of the notice, announced to every holder, binding none who does not accept it.

Who accepts is bound by the new version, and enters in a new way once they were enrolled for it with a consent of its
own; where their way in is not in it any more, what was held for it is erased. Who declines or stays silent keeps what
they agreed to. Where the way agreed with them ends, they enter with card and ID card, or are refunded (``refunds``);
and what was held for that way alone is erased, of everybody. Who has no pass any more is told of none of it.

The rule of this module: silence changes nothing (case 2: the message about faces was a new offer).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from duecare.consent import notices
from duecare.consent import purposes as declared
from duecare.consent.differences import Difference
from duecare.consent.notices import Controller, Notice
from duecare.errors import BadInput, UseError
from duecare.systems.passes import enrolment, holders, messages, offers
from duecare.systems.passes.messages import Text
from duecare.systems.passes.methods import CARD_ID_CARD, TICKET, method
from duecare.systems.passes.models import Holder, HolderMessage
from duecare.systems.passes.once import Write, once
from duecare.systems.passes.park import Park
from duecare.systems.passes.products import PASS_FOR_TWO, SINGLE_TICKET, Product
from duecare.systems.passes.purposes import NOTICE, PURPOSES, declare_all, entry_methods
from duecare.systems.passes.purposes import notice as notice_of
from duecare.vault import erasure


@dataclass(frozen=True)
class Changed:
    """The version that was published, to how many holders it was announced, and what it says otherwise."""

    number: int
    told: int
    difference: Difference | None


@dataclass(frozen=True)
class Answers:
    """What the holders answered to a version, as subjects."""

    accepted: tuple[str, ...]
    declined: tuple[str, ...]
    silent: tuple[str, ...]


@dataclass(frozen=True)
class Ended:
    """A way in that ended: of how many people what was erased, and to how many it was announced."""

    erased: int
    told: int


def publish(
    park: Park, ways: Sequence[str], *, product: Product = PASS_FOR_TWO, notice: Notice | None = None
) -> Changed:
    """Put ``product`` on sale with ``ways`` under a notice that speaks of them, the next version where one is in force.

    Those who have a pass and whom an earlier version binds are told, and stay bound by it until they accept.
    ``notice``: in the place of the park's own text. Raises ``Forbidden`` naming the holding where biometrics would be
    the only way in, ``BadInput``, ``UnknownName``.
    """
    at = park.now()
    text = notice or notice_of(ways)
    with park.home.database.session() as session:
        offers.lock(session, product)
        over = {each.name for each in declared.purposes(session) if each.ended_at is not None}
        if gone := [name for name in ways if method(name).purpose in over]:
            raise UseError(f"{', '.join(gone)} has ended, and does not come back.", hint="Leave it out.")
        declare_all(session, park.engine, at, [each for each in PURPOSES if each.name not in over])
        offers.open_sale(session, park.engine, product, ways, at)
        before = [each.number for each in notices.versions(session, NOTICE)]
        number = notices.publish(session, text, Controller.of(park.home.settings), at)
        if not before or number in before:
            return Changed(number, 0, None)
        old, new = (notices.version(session, NOTICE, each) for each in (before[-1], number))
        told = messages.queue(session, _silent(session, park, number), _announced(old.notice, new.notice), at)
        return Changed(number, told, notices.difference(old, new))


def open_tickets(park: Park) -> None:
    """Put single tickets on sale: they name nobody, and there is nothing to announce."""
    with park.home.database.session() as session:
        offers.open_sale(session, park.engine, SINGLE_TICKET, [TICKET.name], park.now())


def answer(park: Park, subject: str, number: int, *, accepted: bool, how: str, screen: str, once_key: str = "") -> None:
    """Record what a holder answers to a version. Where they accept one that no longer has the way agreed with them, it
    is card and ID card from now on, until they choose another, and what was held for the old one is erased.

    Call it outside of any transaction. Raises ``UnknownName``; ``UseError`` where what they decline binds them already,
    as they accepted it.
    """
    at, begun = park.now(), list[str | None]()

    def act(session: Session, write: Write) -> tuple[None, dict[str, str]]:
        holders.lock(session, subject)
        held = holders.by_subject(session, subject)
        if not accepted and notices.said(session, subject, NOTICE, number):
            raise UseError(
                f"Version {number} of the notice was accepted, and binds.",
                hint="To enter without biometrics, withdraw the consent to them; card and ID card always open.",
            )
        notices.answer(session, subject, NOTICE, number, accepted, how, screen, at)
        promised = entry_methods(notices.version(session, NOTICE, number).notice)
        if accepted and held.holder.method not in promised:
            begun.append(enrolment.change_way(session, park, held, CARD_ID_CARD.name, by="holder"))
        return None, {}

    asked = {"write": "answer", "version": number, "accepted": accepted}
    once(park, Write.of(park, subject, once_key, asked), act, lambda session, write, kept: None)
    enrolment.settle(park, begun)


def answers(session: Session, park: Park, number: int) -> Answers:
    """What was answered to a version by those whom an earlier one bound; the silent are those who have a pass still.

    Raises ``UnknownName``.
    """
    notices.version(session, NOTICE, number)
    return Answers(
        tuple(notices.accepted(session, NOTICE, number)),
        tuple(notices.declined(session, NOTICE, number)),
        tuple(_silent(session, park, number)),
    )


def end_method(park: Park, name: str, *, note: str) -> Ended:
    """A way in ends for good: it is taken off sale, those who agreed to it are told, and what was held for it alone is
    erased of everybody. Call it outside of any transaction.

    Ended already, what a kill left undone is done, and nobody is told twice. Card and ID card cannot end. Raises
    ``BadInput``; ``UseError`` where the rules have it kept.
    """
    ended = method(name)
    if not ended.biometric:
        raise BadInput(f"{name} does not end: it is the way that is open to everyone.", hint="End a biometric one.")
    at, told = park.now(), 0

    def along(session: Session) -> None:
        nonlocal told
        offers.lock(session, PASS_FOR_TWO)
        ways = [way.method for way in offers.standing(session, PASS_FOR_TWO)]
        if name in ways:
            offers.open_sale(session, park.engine, PASS_FOR_TWO, [each for each in ways if each != name], at)
        told_before = select(HolderMessage.subject).where(HolderMessage.kind == _over(name).kind)
        holding = select(Holder.subject).where(
            Holder.method == name,
            Holder.subject.in_(holders.with_a_pass(park.today())),
            Holder.subject.not_in(told_before),
        )
        readers = [each for each in session.scalars(holding) if each is not None]
        told = messages.queue(session, readers, _over(name), at)

    erased = erasure.end_purpose(park.vault, ended.purpose, note=note, along=along)
    return Ended(erased, told)


def remind(park: Park, number: int) -> int:
    """Tell those who have not answered a version once more; how many messages were queued. Raises ``UseError``."""
    at = park.now()
    with park.home.database.session() as session:
        versions = notices.versions(session, NOTICE)
        if number < 2 or number > len(versions):
            raise UseError(f"Version {number} changed nothing that anybody could answer.", hint="Name a later one.")
        old, new = versions[number - 2].notice, versions[number - 1].notice
        return messages.queue(session, _silent(session, park, number), _announced(old, new), at)


def _silent(session: Session, park: Park, number: int) -> list[str]:
    """Who has a pass still and has not answered a version: nobody else is told of it, nor asked."""
    asked = notices.unanswered_sql(NOTICE, number).subquery()
    return list(session.scalars(select(asked.c.subject).where(asked.c.subject.in_(holders.with_a_pass(park.today())))))


def _announced(old: Notice, new: Notice) -> Text:
    before, after = set(entry_methods(old)), set(entry_methods(new))
    fresh = [method(name) for name in entry_methods(new) if name not in before]
    gone = [method(name) for name in entry_methods(old) if name not in after]
    return Text(
        "change",
        "年卡入园方式的新告知书",
        "年卡告知书有新版本"
        + (f", 新增{'、'.join(each.zh for each in fresh)}" if fresh else "")
        + (f", 不再包括{'、'.join(each.zh for each in gone)}" if gone else "")
        + "。这是新的要约: 您可以接受、拒绝或者不作答复; 未接受的, 原约定不变, 并且随时可以凭年卡和身份证入园。",
        "A new notice on the ways in",
        "There is a new version of the notice"
        + (f", with {' and '.join(each.en for each in fresh)}" if fresh else "")
        + (f", without {' and '.join(each.en for each in gone)}" if gone else "")
        + ". It is an offer: accept it, decline it, or do not answer. Unless you accept, what was agreed stays, and "
        "card and ID card open the gate at any time.",
    )


def _over(name: str) -> Text:
    ended = method(name)
    return Text(
        f"ended:{name}",
        f"{ended.zh}停用",
        f"{ended.zh}已停用, 只为它收集的信息已经删除, 删除证明可在您的页面查阅。请凭年卡和身份证入园, "
        "也可以按剩余天数退款。",
        f"{ended.en} has ended",
        f"Entry with {ended.en} has ended, and what was held for it alone has been erased; the certificate is on your "
        "page. Please enter with card and ID card, or be refunded for the days that are left.",
    )
