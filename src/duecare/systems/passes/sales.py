"""Selling tickets and passes, renewing them, and replacing cards.

The rule of this module: a pass is sold under the notice in force, for the two purposes that it cannot do without, and
nothing else is agreed to by buying; biometrics are asked for later, alone (``enrolment``).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from duecare.clock import utc
from duecare.consent import grants, notices, subjects
from duecare.consent.purposes import Retention
from duecare.errors import BadInput, UseError
from duecare.evidence.outbox import record
from duecare.radar.channels.channel import channel_class
from duecare.systems.passes import enrolment, holders, messages, offers
from duecare.systems.passes.cards import digest, entry_code, id_card_number
from duecare.systems.passes.holders import Held
from duecare.systems.passes.messages import Text
from duecare.systems.passes.methods import CARD_ID_CARD, TICKET
from duecare.systems.passes.models import Card, Holder, Pass, Period
from duecare.systems.passes.once import Write, once
from duecare.systems.passes.park import Park
from duecare.systems.passes.products import Product, Way, product
from duecare.systems.passes.purposes import AT_SALE, CONTRACT, ENTRY, EXPIRED, MAIL, NOTICE, entry_methods
from duecare.vault import retention


@dataclass(frozen=True)
class Buyer:
    """What a holder gives at the counter. ``method``: the way in that they choose. ``mail`` may be left out."""

    name: str
    id_number: str
    phone: str
    method: str = CARD_ID_CARD.name
    mail: str = ""

    def __repr__(self) -> str:
        return f"Buyer(method={self.method!r})"


@dataclass(frozen=True)
class Issued:
    """A card that was issued: ``card`` is its number, which is known here and now and never again."""

    subject: str
    method: str
    card: str = field(repr=False)


@dataclass(frozen=True)
class Sold:
    """What was sold: the price in yuan, first and last day, the cards."""

    pass_id: str
    product: str
    year: int
    price: Decimal
    first: date
    last: date
    cards: tuple[Issued, ...]


def sell(
    park: Park,
    name: str,
    buyers: Sequence[Buyer] = (),
    *,
    screen: str,
    actor: str,
    how: str = "signed at the pass centre",
    language: str = "zh",
    once_key: str = "",
) -> Sold:
    """Sell the product called ``name``, valid from today. A ticket has no buyers: it names nobody.

    All is recorded or nothing, and under a ``once_key`` once (``once``). Raises ``UnknownName``, ``BadInput``,
    ``Forbidden`` naming the holding.
    """
    bought = product(name)
    if len(buyers) != (bought.persons if bought.named else 0):
        wanted = str(bought.persons) if bought.named else "nobody"
        raise BadInput(
            f"{bought.name} is for {wanted} by name; {len(buyers)} were given.",
            hint=f"Name {wanted}, each who will hold it." if bought.named else "Sell it without names.",
        )
    given = [_checked(buyer) for buyer in buyers]
    if len({each.id_number for each in given}) < len(given):
        raise BadInput("Two holders of one pass have the same ID card.", hint="Read the ID card of each.")
    asked = {"write": "sell", "product": name, "holders": [vars(each) for each in given], "language": language}
    write = Write.of(park, actor, once_key, asked)

    def do(session: Session, write: Write) -> tuple[Sold, dict[str, Any]]:
        return _sell(session, bought, given, _Counter(park, write, how, screen, actor, language))

    return once(park, write, do, _again)


def _sell(session: Session, bought: Product, given: Sequence[Buyer], counter: _Counter) -> tuple[Sold, dict[str, Any]]:
    park = counter.park
    at, first = park.now(), park.today()
    ways = [_chosen(session, park, bought, each.method) for each in given or [_NOBODY]]
    way = max(ways, key=lambda each: each.price)
    last = min(bought.last_day(first, each.method) for each in ways)
    sold = Pass(id=secrets.token_hex(16), product=bought.name, sold_at=at, screen=counter.screen)
    session.add(sold)
    session.flush()
    price = bought.price(way.method)
    session.add(
        Period(
            pass_id=sold.id, number=1, year=1, first=first, last=last, price=price, persons=bought.persons,
            way=way.method, paid_at=at,
        )
    )  # fmt: skip
    session.flush()
    cards = [_issue(session, sold.id, last, each, number, counter) for number, each in enumerate(given)]
    if not bought.named:
        cards = [_ticket(session, park, sold.id, counter.write.card())]
    body = {
        "product": bought.name,
        "price": str(price),
        "first": first.isoformat(),
        "last": last.isoformat(),
        "methods": [each.method for each in cards],
        "holders": [subjects.commitment(session, each.subject) for each in cards if each.subject],
        "by": counter.actor,
    }
    record(session, "pass:sell", f"pass:{sold.id}", body, at)
    result = Sold(sold.id, bought.name, 1, price, first, last, tuple(cards))
    return result, _remembered(session, result)


def renew(park: Park, pass_id: str, *, screen: str, actor: str, once_key: str = "") -> Sold:
    """Add the next year to a pass: from the day after its last, or from today where that has passed.

    Within the window after its last day the row of years goes on, with its discounts. What a renewal added must have
    begun before today when the pass is renewed again: sent twice, without a key too, a renewal adds one year. A way in
    that is no longer on sale gives way to card and ID card once the year is over that was agreed with it; what was held
    for it is erased, and the holder told. Call it outside of any transaction. Raises ``UnknownName``; ``UseError``
    where the pass can no longer be renewed, or not yet.
    """
    begun: list[str | None] = []
    write = Write.of(park, actor, once_key, {"write": "renew", "pass": pass_id})
    sold = once(park, write, lambda session, _: _renew(session, park, pass_id, screen, actor, begun), _again)
    enrolment.settle(park, begun)
    return sold


def _renew(
    session: Session, park: Park, pass_id: str, screen: str, actor: str, begun: list[str | None]
) -> tuple[Sold, dict[str, Any]]:
    holders.lock_pass(session, pass_id)
    at, today = park.now(), park.today()
    shared = [each for each in holders.of_pass(session, pass_id) if each.stays]
    if not shared:
        raise UseError(f"The pass {pass_id} was refunded, or its holders erased.", hint="Sell a new one.")
    period, bought = shared[0].latest, shared[0].product
    _renewable(bought, period, today)
    begun += _leave_ways(session, park, shared, actor)
    ways = [_chosen(session, park, bought, each.holder.method) for each in shared]
    way = max(ways, key=lambda each: each.price)
    year, first = period.year + 1, max(period.last + timedelta(days=1), today)
    last = min(bought.last_day(first, each.method) for each in ways)
    price = (bought.price(way.method, year) * len(shared) / bought.persons).quantize(Decimal("0.01"))
    session.add(
        Period(
            pass_id=pass_id, number=period.number + 1, year=year, first=first, last=last, price=price,
            persons=len(shared), way=way.method, paid_at=at,
        )
    )  # fmt: skip
    session.flush()
    for each in shared:
        retention.event(session, str(each.holder.subject), EXPIRED, last, ref=pass_id, at=at)
    body = {
        "product": bought.name,
        "number": period.number + 1,
        "year": year,
        "price": str(price),
        "persons": len(shared),
        "way": way.method,
        "first": first.isoformat(),
        "last": last.isoformat(),
        "by": actor,
        "screen": screen,
    }
    record(session, "pass:renew", f"pass:{pass_id}", body, at)
    cards = tuple(Issued(str(each.holder.subject), each.holder.method, "") for each in shared)
    result = Sold(pass_id, bought.name, year, price, first, last, cards)
    return result, _remembered(session, result)


def _leave_ways(session: Session, park: Park, shared: Sequence[Held], actor: str) -> list[str | None]:
    """Have card and ID card agreed with those whose way in is no longer on sale; the acts that were begun. Raises
    ``UseError`` while a year runs that was agreed with it: a renewal takes nothing of it away (case 2)."""
    kept = {way.method for way in offers.standing(session, shared[0].product)}
    gone = [each for each in shared if each.holder.method not in kept]
    last = shared[0].latest.last
    if gone and park.today() <= last:
        raise UseError(
            f"{gone[0].holder.method} is no longer on sale, and agreed with a holder of this pass until {last}.",
            hint="Renew it after that day, or once they have accepted the notice in force.",
        )
    messages.queue(session, [str(each.holder.subject) for each in gone], _RENEWED_WITHOUT, park.now())
    return [enrolment.change_way(session, park, each, CARD_ID_CARD.name, by=actor) for each in gone]


_RENEWED_WITHOUT = Text(
    "renewed",
    "年卡已续期",
    "您的年卡已续期。原约定的入园方式已不再提供, 新的一年请凭年卡和身份证入园; 只为原方式保存的信息已经删除。",
    "Your pass was renewed",
    "Your pass was renewed. The way in of the last year is no longer offered: in the new year please enter with card "
    "and ID card. What was held for the old way alone has been erased.",
)


def report_lost(park: Park, subject: str, *, actor: str) -> int:
    """The cards of a holder open nothing from now on; how many they were. Raises ``UnknownName``."""
    with park.home.database.session() as session:
        holders.lock(session, subject)
        lost = _lose(session, holders.by_subject(session, subject), actor, park)
    park.log()
    return lost


def replace_card(park: Park, id_number: str, *, actor: str, pass_id: str = "", once_key: str = "") -> Issued:
    """A new card for the holder whose ID card is shown; those that they had open nothing any more.

    Raises ``UseError`` where nobody is found, ``Forbidden`` where nothing may be kept of them any more.
    """
    shown = id_card_number(id_number)
    write = Write.of(park, actor, once_key, {"write": "replace card", "id_number": shown, "pass": pass_id})
    subject = holders.identify(park, shown, actor, pass_id=pass_id)

    def issue(session: Session, write: Write) -> tuple[Issued, dict[str, Any]]:
        holders.lock(session, subject)
        found, number = holders.by_subject(session, subject), write.card()
        _lose(session, found, actor, park)
        park.vault.seal(session, subject, {"entry_code": entry_code(number, shown)}, [ENTRY], actor)
        at = park.now()
        session.add(Card(digest=digest(number), holder_id=found.holder.id, issued_at=at, lost_at=None))
        body = {**_who(session, subject), "card": holders.card_commitment(session, subject, digest(number))}
        record(session, "card:issue", f"pass:{found.sold.id}", {**body, "by": actor}, at)
        return Issued(subject, found.holder.method, number), {"method": found.holder.method}

    def again(session: Session, write: Write, kept: Mapping[str, Any]) -> Issued:
        return Issued(subject, kept["method"], _known(session, write.card()))

    return once(park, write, issue, again)


_NOBODY = Buyer("", "", "", TICKET.name)


def _checked(buyer: Buyer) -> Buyer:
    """The buyer as they are kept. Raises ``BadInput``."""
    name, mail = buyer.name.strip(), buyer.mail.strip()
    if not name:
        raise BadInput("A holder has no name.", hint="The pass is in a person's name.")
    phone = _address("sms", buyer.phone, "a telephone number")
    if mail:
        mail = _address("mail", mail, "a mail address")
    return Buyer(name, id_card_number(buyer.id_number), phone, buyer.method, mail)


def _address(channel: str, given: str, what: str) -> str:
    """A holder's address as it is kept. Raises ``BadInput``, which does not repeat it: it may be off by one digit."""
    try:
        return channel_class(channel).check(given, "")[0]
    except BadInput as error:
        raise BadInput(f"This is not {what}.", hint=error.hint) from None


def _chosen(session: Session, park: Park, bought: Product, name: str) -> Way:
    """The way in, if it is on sale and the notice in force speaks of it."""
    way = offers.choose(session, park.engine, bought, name).way
    if bought.named:
        terms = entry_methods(notices.version(session, NOTICE, at=park.now()).notice)
        if name not in terms:
            raise BadInput(
                f"The notice in force does not speak of {name}.", hint=f"Its ways in are {', '.join(terms)}."
            )
    return way


@dataclass(frozen=True)
class _Counter:
    """Where and by whom a pass is sold, in which write."""

    park: Park
    write: Write
    how: str
    screen: str
    actor: str
    language: str


def _issue(session: Session, pass_id: str, last: date, buyer: Buyer, place: int, counter: _Counter) -> Issued:
    park, actor = counter.park, counter.actor
    at, number = park.now(), counter.write.card(place)
    subject = subjects.add(session, at)
    _agree(session, subject, AT_SALE, counter)
    known = {"name": buyer.name, "id_number": buyer.id_number, "phone": buyer.phone}
    park.vault.seal(session, subject, known, [CONTRACT], actor)
    park.vault.seal(session, subject, {"entry_code": entry_code(number, buyer.id_number)}, [ENTRY], actor)
    if buyer.mail:
        _agree(session, subject, [MAIL], counter)
        park.vault.seal(session, subject, {"mail": buyer.mail}, [MAIL], actor)
    holder = Holder(pass_id=pass_id, subject=subject, method=buyer.method, left_on=None)
    session.add(holder)
    session.flush()
    session.add(Card(digest=digest(number), holder_id=holder.id, issued_at=utc(at), lost_at=None))
    retention.event(session, subject, EXPIRED, last, ref=pass_id, at=at)
    return Issued(subject, buyer.method, number)


def _agree(session: Session, subject: str, purposes: Sequence[str], counter: _Counter) -> None:
    at = counter.park.now()
    grants.give(
        session, counter.park.engine, subject, purposes, notice=NOTICE,
        version=notices.version(session, NOTICE, at=at).number, how=counter.how, screen=counter.screen, at=at,
        language=counter.language,
    )  # fmt: skip


def _ticket(session: Session, park: Park, pass_id: str, number: str) -> Issued:
    holder = Holder(pass_id=pass_id, subject=None, method=TICKET.name, left_on=None)
    session.add(holder)
    session.flush()
    session.add(Card(digest=digest(number), holder_id=holder.id, issued_at=park.now(), lost_at=None))
    return Issued("", TICKET.name, number)


def _remembered(session: Session, sold: Sold) -> dict[str, Any]:
    """What is kept of an answer: rows of holders in the place of subjects, and no numbers of cards."""
    rows = {each.holder.subject or "": each.holder.id for each in holders.of_pass(session, sold.pass_id)}
    cards = [{"holder": rows[each.subject], "method": each.method, "issued": bool(each.card)} for each in sold.cards]
    return {
        "pass_id": sold.pass_id,
        "product": sold.product,
        "year": sold.year,
        "price": str(sold.price),
        "first": sold.first.isoformat(),
        "last": sold.last.isoformat(),
        "cards": cards,
    }


def _again(session: Session, write: Write, kept: Mapping[str, Any]) -> Sold:
    """The first answer, made of what was kept of it and of the key."""
    cards = tuple(
        Issued(
            session.get_one(Holder, each["holder"]).subject or "",
            each["method"],
            _known(session, write.card(place)) if each["issued"] else "",
        )
        for place, each in enumerate(kept["cards"])
    )
    first, last = (date.fromisoformat(kept[name]) for name in ("first", "last"))
    return Sold(kept["pass_id"], kept["product"], kept["year"], Decimal(kept["price"]), first, last, cards)


def _known(session: Session, number: str) -> str:
    """``number``, if a card has it. Raises ``UseError`` where the card went with its holder, or the centre's key was
    replaced meanwhile."""
    if session.get(Card, digest(number)) is None:
        raise UseError("It was done, but the number of the card cannot be given again.", hint="Issue a new card.")
    return number


def _renewable(bought: Product, period: Period, today: date) -> None:
    if not bought.renewals:
        raise UseError(f"{bought.name} is not renewed.", hint="Sell another.")
    if period.number > 1 and today <= period.first:
        raise UseError(
            f"The pass was renewed already, from {period.first} to {period.last}.",
            hint=f"It is renewed one year ahead at most: again from {period.first + timedelta(days=1)} on.",
        )
    window = Retention(EXPIRED, months=bought.window_months).until(period.last)
    if today > window:
        raise UseError(f"The pass ended on {period.last}, and its renewal window on {window}.", hint="Sell a new one.")


def _lose(session: Session, found: Held, actor: str, park: Park) -> int:
    standing = (Card.holder_id == found.holder.id) & Card.lost_at.is_(None)
    lost, at = list(session.scalars(select(Card.digest).where(standing))), park.now()
    session.execute(update(Card).where(standing).values(lost_at=at))
    if lost:
        subject = str(found.holder.subject)
        which = sorted(holders.card_commitment(session, subject, each) for each in lost)
        body = {**_who(session, subject), "cards": len(lost), "which": which, "by": actor}
        record(session, "card:lose", f"pass:{found.sold.id}", body, at)
    return len(lost)


def _who(session: Session, subject: str) -> dict[str, str]:
    return {"holder": subjects.commitment(session, subject)}
