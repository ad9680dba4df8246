"""What is paid back when a pass ends early: pro rata, by days.

The day of the event counts as used, and every day after it up to and including the last day of the pass counts as left:
from the visit on 26 October 2019 to the end on 25 April 2020 that is 182 of 365 days, and of 1,360 yuan 678 (case 2).
The amount is rounded to whole yuan, a half upwards. Before the first day nothing was used: the price is paid back as it
was paid.

The rule of this module: a refund is never more than was paid, and never grows with time; where no day is left, there is
none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from duecare.consent import notices, subjects
from duecare.consent import purposes as declared
from duecare.errors import BadInput, UseError
from duecare.evidence.outbox import EvidenceEntry, record
from duecare.systems.passes import holders, messages
from duecare.systems.passes.holders import Held
from duecare.systems.passes.messages import Text
from duecare.systems.passes.methods import method
from duecare.systems.passes.models import PaidBack, Period
from duecare.systems.passes.once import Write, once
from duecare.systems.passes.park import Park, day_of
from duecare.systems.passes.purposes import EXPIRED, NOTICE, entry_methods
from duecare.vault import retention

_PAID = "pass:refund"
"""The kind of the evidence of a refund."""


@dataclass(frozen=True)
class Refund:
    """``amount`` in yuan, for ``days_left`` of the ``days`` that ``price`` had paid for."""

    amount: Decimal
    days_left: int
    days: int
    price: Decimal

    def plus(self, other: Refund) -> Refund:
        """Both together: of a pass that was renewed early, the year that runs and the one that has not begun."""
        return Refund(
            self.amount + other.amount,
            self.days_left + other.days_left,
            self.days + other.days,
            self.price + other.price,
        )


def pro_rata(price: Decimal, first: date, last: date, on: date) -> Refund:
    """What is due of ``price`` (yuan) for a pass valid from ``first`` to ``last``, both included, that ends ``on``.

    Raises ``BadInput`` where the days are the wrong way round or the price is below nothing.
    """
    if last < first or price < 0:
        raise BadInput(
            f"A pass of {price} yuan from {first} to {last} cannot be refunded.",
            hint="The price is 0 or more, and the last day is not before the first.",
        )
    days = (last - first).days + 1
    if on < first:
        return Refund(price, days, days, price)
    left = max(0, (last - on).days)
    amount = (price * left / days).quantize(Decimal(1), ROUND_HALF_UP)
    return Refund(min(amount, price), left, days, price)


def entitled(session: Session, held: Held, on: date) -> bool:
    """Whether a refund is owed ``on`` a day: the way in that was agreed has ended, under a notice that still binds and
    promises it, and days of the pass are left."""
    agreed = method(held.holder.method)
    if not held.stays or not agreed.purpose or held.latest.last <= on:
        return False
    if declared.purpose(session, agreed.purpose).ended_at is None:
        return False
    bound = notices.binding(session, str(held.holder.subject), NOTICE)
    return bound is not None and agreed.name in entry_methods(notices.version(session, NOTICE, bound).notice)


def quote(session: Session, pass_id: str, readers: Sequence[str], on: date) -> Refund:
    """What would be paid back if these holders of a pass left it ``on`` a day: of each year that is not over, their
    share of its price. Raises ``UnknownName``, ``UseError``."""
    leaving = _leaving(session, pass_id, readers)
    whole = Refund(Decimal(0), 0, 0, Decimal(0))
    for period in session.scalars(select(Period).where(Period.pass_id == pass_id, Period.last >= on)):
        share = period.price * len(leaving) / period.persons
        whole = whole.plus(pro_rata(share, period.first, period.last, on))
    return whole


@dataclass(frozen=True)
class Paid:
    """A refund that was paid ``on`` a day, to so many ``persons`` together, and why."""

    refund: Refund
    on: date
    persons: int
    reason: str


def paid(session: Session, held: Held) -> Paid | None:
    """What was paid back to a holder, with those who left the pass at once with them; none where nothing was."""
    subject = held.holder.subject
    if subject is None or held.holder.left_on is None:
        return None
    mine = subjects.commitment(session, subject)
    asked = select(EvidenceEntry.at, EvidenceEntry.body).where(
        EvidenceEntry.subject == f"pass:{held.sold.id}", EvidenceEntry.kind == _PAID
    )
    for at, body in session.execute(asked):
        said = json.loads(body)
        if mine in said["holders"]:
            refund = Refund(Decimal(said["amount"]), said["days_left"], said["days"], Decimal(said["price"]))
            return Paid(refund, day_of(at), len(said["holders"]), said["reason"])
    return None


def pay_back(
    park: Park,
    pass_id: str,
    readers: Sequence[str],
    *,
    reason: str,
    actor: str,
    goodwill: bool = False,
    once_key: str = "",
) -> Refund:
    """Refund these holders of a pass today, pro rata; the pass opens no gate for them from tomorrow on.

    Owed is it to those with whom a way in is agreed that has ended (``entitled``); to others it is paid with
    ``goodwill`` alone. Under a ``once_key`` it is paid once (``once``). Raises ``UnknownName``, ``BadInput`` without a
    reason, ``UseError`` where nothing is owed.
    """
    if not reason.strip():
        raise BadInput(
            "A refund has no reason.", hint="Say why it is paid; it is kept in the public log for ever: name no person."
        )
    asked = {"write": "refund", "pass": pass_id, "holders": list(readers), "reason": reason, "goodwill": goodwill}
    write = Write.of(park, actor, once_key, asked)

    def pay(session: Session, write: Write) -> tuple[Refund, dict[str, Any]]:
        paid = _pay(session, park, pass_id, readers, reason, actor, goodwill=goodwill)
        return paid, {name: str(value) for name, value in vars(paid).items()}

    def again(session: Session, write: Write, kept: Mapping[str, Any]) -> Refund:
        return Refund(Decimal(kept["amount"]), int(kept["days_left"]), int(kept["days"]), Decimal(kept["price"]))

    return once(park, write, pay, again)


def _pay(
    session: Session, park: Park, pass_id: str, readers: Sequence[str], reason: str, actor: str, *, goodwill: bool
) -> Refund:
    holders.lock_pass(session, pass_id)
    at = park.now()
    on = day_of(at)
    leaving = _leaving(session, pass_id, readers)
    refund = quote(session, pass_id, readers, on)
    if not refund.days_left:
        raise UseError(f"No day of the pass {pass_id} is left.", hint="There is nothing to refund.")
    if not goodwill and not all(entitled(session, each, on) for each in leaving):
        raise UseError(
            "No refund is owed: the way in that was agreed is open, or the change was accepted.",
            hint="Pay it as goodwill, or let the holder enter as agreed.",
        )
    session.add(
        PaidBack(
            pass_id=pass_id, persons=len(leaving), price=refund.price, days_left=refund.days_left,
            days=refund.days, amount=refund.amount, reason=reason, on=on, at=at,
        )
    )  # fmt: skip
    for each in leaving:
        each.holder.left_on = on
        retention.event(session, str(each.holder.subject), EXPIRED, on, ref=pass_id, at=at)
    messages.queue(session, list(readers), _told(refund), at)
    body = {
        "holders": [subjects.commitment(session, each) for each in readers],
        "amount": str(refund.amount),
        "price": str(refund.price),
        "days_left": refund.days_left,
        "days": refund.days,
        "reason": reason,
        "by": actor,
    }
    record(session, _PAID, f"pass:{pass_id}", body, at)
    return refund


def _leaving(session: Session, pass_id: str, readers: Sequence[str]) -> list[Held]:
    by_name = {each.holder.subject: each for each in holders.of_pass(session, pass_id)}
    wrong = [each for each in readers if each not in by_name or by_name[each].holder.left_on is not None]
    if wrong or not readers or len(set(readers)) < len(readers):
        raise UseError(
            f"The pass {pass_id} is not held by those who are to be refunded, or they were.",
            hint="Name holders of this pass who were not refunded, each once.",
        )
    return [by_name[each] for each in readers]


def _told(refund: Refund) -> Text:
    return Text(
        "refund",
        "年卡退款",
        f"您的年卡已按剩余 {refund.days_left} 天 (共 {refund.days} 天) 退款 {refund.amount} 元。",
        "Refund of your pass",
        f"Of the {refund.days} days of your pass {refund.days_left} were left: {refund.amount} yuan are refunded.",
    )
