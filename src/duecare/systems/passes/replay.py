"""What is done again on an older copy of the database, from the log: above all what ended a right at the gate.

A card that was reported lost, a refund, the end of a pass, a way in that was left, a ticket that was used, a gate, a
clerk and a way on sale that ended: each ends again, as of the day that the log says. What came to a holder and stands
whole in the log (a renewal, a gate that was made known) comes back too; what does not (who bought a pass, the number of
a card, a template) is named as missing (``lacking``).

The rule of this module: on a restored copy nothing opens that did not open before; whatever is done here twice is done
once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from duecare.clock import parse_moment
from duecare.consent import grants
from duecare.consent.models import NoticeVersion
from duecare.evidence.outbox import LoggedEntry
from duecare.systems.passes import holders
from duecare.systems.passes.entries import HANDED_OVER, NO_QUESTION
from duecare.systems.passes.holders import Held
from duecare.systems.passes.lacking import CARD, CLERK, PASS, VERSION, WAY
from duecare.systems.passes.methods import CARD_ID_CARD, method
from duecare.systems.passes.models import (
    Card,
    Clerk,
    Conflict,
    Gate,
    GateAnswer,
    Holder,
    HolderMessage,
    MessageState,
    Offer,
    PaidBack,
    Pass,
    Period,
    Visit,
)
from duecare.systems.passes.park import day_of
from duecare.systems.passes.products import Way
from duecare.systems.passes.purposes import NOTICE
from duecare.vault.copies import Copy, Missing, Replays

_NOBODY = ""
"""In the place of the commitment to a holder: a ticket is nobody's."""


def replays() -> Replays:
    """What the pass system does again, by kind of evidence."""
    return {
        "pass:sell": _sell,
        "pass:renew": _renew,
        "pass:refund": _refund,
        "pass:end": _end,
        "pass:method": _method,
        "card:lose": _lose,
        "card:issue": _issue,
        "entry:open": _enter,
        "entry:reconcile": _reconcile,
        "entry:settle": _settle,
        "gate:add": _add_gate,
        "gate:end": _end_gate,
        "clerk:add": _add_clerk,
        "clerk:end": _end_clerk,
        "product:offer": _offer,
        "notice:publish": _publish,
        "message:send": _send,
    }


def _sell(copy: Copy, entry: LoggedEntry) -> None:
    """Who bought it is sealed data that is gone: nothing can be made again."""
    body, name = entry.body, _named(entry, "pass")
    if copy.session.get(Pass, name) is None:
        for holder in body["holders"] or [_NOBODY]:
            copy.misses(Missing(PASS, name, until=date.fromisoformat(body["last"])), holder)


def _renew(copy: Copy, entry: LoggedEntry) -> None:
    """The year that was paid."""
    body, name = entry.body, _named(entry, "pass")
    for what in (PASS, CARD, WAY):
        copy.lasts(what, name, date.fromisoformat(body["last"]))
    shared = _of_pass(copy, name)
    first = date.fromisoformat(body["first"])
    if not shared or any(each.first >= first for each in shared[0].periods):
        return
    stay = [each for each in shared if each.stays]
    period = Period(
        pass_id=name,
        number=shared[0].latest.number + 1,
        year=body["year"],
        first=first,
        last=date.fromisoformat(body["last"]),
        price=Decimal(body["price"]),
        # Entries of earlier versions say neither how many shared it then nor by which way in it was priced.
        persons=body.get("persons", len(stay)),
        way=body.get("way", shared[0].latest.way),
        paid_at=entry.at,
    )
    copy.session.add(period)
    _did(copy, entry)


def _refund(copy: Copy, entry: LoggedEntry) -> None:
    """Those who were paid have left on that day; the payment stands in the books, once."""
    body, name, on = entry.body, _named(entry, "pass"), day_of(entry.at)
    for commitment in body["holders"]:
        copy.settles(PASS, name, commitment)
    if copy.session.get(Pass, name) is None:
        return
    for commitment in body["holders"]:
        _leave(copy, commitment, on)
    paid = select(PaidBack.id).where(PaidBack.pass_id == name, PaidBack.at == entry.at)
    if copy.session.scalar(paid.limit(1)) is not None:
        return
    copy.session.add(
        PaidBack(
            pass_id=name, persons=len(body["holders"]), price=Decimal(body["price"]), days_left=body["days_left"],
            days=body["days"], amount=Decimal(body["amount"]), reason=body["reason"], on=on, at=entry.at,
        )
    )  # fmt: skip
    _did(copy, entry)


def _end(copy: Copy, entry: LoggedEntry) -> None:
    """The pass is over for one who asked that all be erased: also where a legal hold keeps what was held."""
    copy.settles(PASS, _named(entry, "pass"), entry.body["holder"])
    if _leave(copy, entry.body["holder"], day_of(entry.at)):
        _did(copy, entry)


def _leave(copy: Copy, commitment: str, on: date) -> bool:
    holder = _holder(copy, commitment)
    if holder is None or holder.left_on is not None:
        return False
    holder.left_on = on
    copy.session.flush()
    return True


def _method(copy: Copy, entry: LoggedEntry) -> None:
    """The way in that was agreed last. One that rests on a consent which is lost with the database opens for nobody
    until they enrol anew: card and ID card stand in its place."""
    body, name = entry.body, _named(entry, "pass")
    holder = _holder(copy, body["holder"])
    if holder is None:
        return
    way, purpose = str(body["to"]), method(body["to"]).purpose
    copy.settles(WAY, name, body["holder"])
    if method(way).biometric and not grants.standing(copy.session, str(holder.subject), purpose):
        copy.misses(Missing(WAY, name, until=_last(copy, name)), body["holder"])
        way = CARD_ID_CARD.name
    if holder.method != way:
        holder.method = way
        copy.session.flush()
        _did(copy, entry)


def _lose(copy: Copy, entry: LoggedEntry) -> None:
    """The cards that the entry commits to open nothing since then; of an earlier version, all that there were."""
    holder = _holder(copy, entry.body["holder"])
    if holder is None:
        return
    copy.settles(CARD, _named(entry, "pass"), entry.body["holder"])
    standing = select(Card).where(Card.holder_id == holder.id, Card.lost_at.is_(None), Card.issued_at <= entry.at)
    which = entry.body.get("which")
    for card in copy.session.scalars(standing).all():
        if which is None or _committed(copy, holder, card) in which:
            card.lost_at = entry.at
            _did(copy, entry)
    copy.session.flush()


def _issue(copy: Copy, entry: LoggedEntry) -> None:
    """The number of a card stands on the card alone: a new one has to be issued."""
    holder, name = _holder(copy, entry.body["holder"]), _named(entry, "pass")
    if holder is None:
        return
    theirs = copy.session.scalars(select(Card).where(Card.holder_id == holder.id)).all()
    wanted = entry.body.get("card")
    if not any(_committed(copy, holder, card) == wanted or card.issued_at == entry.at for card in theirs):
        copy.misses(Missing(CARD, name, until=_last(copy, name)), entry.body["holder"])


def _enter(copy: Copy, entry: LoggedEntry) -> None:
    """Somebody entered: a ticket is used, and a holder's visit is on their page of truth."""
    # Entries of earlier versions do not say under which key the gate asked, nor by which ticket.
    if "key" in entry.body:
        _visit(copy, entry, entry.body["key"], offline=False)


def _reconcile(copy: Copy, entry: LoggedEntry) -> None:
    """A gate handed over what it had decided alone: that is taken once, and what a person has to look at waits."""
    body, gate = entry.body, _named(entry, "gate")
    if "at" not in body:
        return
    key = body["decision"]
    known = copy.session.get(GateAnswer, (gate, key))
    if known is None:
        taken = {"opened": body["open"], "answer": {HANDED_OVER: True}, "at": entry.at}
        copy.session.add(GateAnswer(gate=gate, key=key, question=NO_QUESTION, **taken))
    else:
        known.answer = {**known.answer, HANDED_OVER: True}
    if body["open"]:
        _visit(copy, entry, key, offline=True)
    holder = _shown(copy, body)
    for kind in body["conflicts"]:
        flagged = {"gate": gate, "key": key, "kind": kind}
        if copy.session.scalar(select(Conflict.id).filter_by(**flagged)) is None:
            # By which card is with the gate: the log names none.
            waits = Conflict(
                **flagged, card="", subject=holder.subject if holder else None, at=parse_moment(body["at"]),
                noted_at=entry.at, settled_at=None, settled_by="", note="",
            )  # fmt: skip
            copy.session.add(waits)
    copy.session.flush()


def _settle(copy: Copy, entry: LoggedEntry) -> None:
    """A person has looked at a conflict."""
    body = entry.body
    if "key" not in body:
        return
    which = {name: body[name] for name in ("gate", "key", "kind")}
    row = copy.session.scalar(select(Conflict).filter_by(**which, settled_at=None))
    if row is not None:
        row.settled_at, row.settled_by, row.note = entry.at, body["by"], body["note"]
        copy.session.flush()


def _visit(copy: Copy, entry: LoggedEntry, key: str, *, offline: bool) -> None:
    if "ticket" in entry.body:
        copy.settles(PASS, entry.body["ticket"], _NOBODY)
    holder, gate = _shown(copy, entry.body), _named(entry, "gate")
    known = select(Visit.id).where(Visit.gate == gate, Visit.key == key)
    if holder is None or copy.session.scalar(known) is not None:
        return
    visit = Visit(
        holder_id=holder.id, subject=holder.subject, gate=gate, method=entry.body["method"],
        at=parse_moment(entry.body["at"]), key=key, offline=offline,
    )  # fmt: skip
    copy.session.add(visit)
    copy.session.flush()
    _did(copy, entry)


def _add_gate(copy: Copy, entry: LoggedEntry) -> None:
    """A gate that was made known since the copy is known again, since then: what it decided alone meanwhile is
    taken."""
    name, key = _named(entry, "gate"), entry.body["key"]
    row = copy.session.get(Gate, name)
    if row is None or (row.added_at < entry.at and row.key != key):
        copy.session.merge(Gate(name=name, key=key, added_at=entry.at, ended_at=None))
    elif row.ended_at is not None and row.ended_at <= entry.at and row.key == key:
        row.ended_at = None
    else:
        return
    copy.session.flush()
    _did(copy, entry)


def _end_gate(copy: Copy, entry: LoggedEntry) -> None:
    _end_row(copy, entry, copy.session.get(Gate, _named(entry, "gate")))


def _add_clerk(copy: Copy, entry: LoggedEntry) -> None:
    """A clerk who had a key lost it to a new one, which is kept nowhere."""
    name = _named(entry, "clerk")
    row = copy.session.get(Clerk, name)
    if row is not None and row.added_at >= entry.at:
        return
    _end_row(copy, entry, row)
    copy.misses(Missing(CLERK, name))


def _end_clerk(copy: Copy, entry: LoggedEntry) -> None:
    name = _named(entry, "clerk")
    copy.settles(CLERK, name)
    _end_row(copy, entry, copy.session.get(Clerk, name))


def _end_row(copy: Copy, entry: LoggedEntry, row: Gate | Clerk | None) -> None:
    if row is not None and row.ended_at is None and row.added_at <= entry.at:
        row.ended_at = entry.at
        copy.session.flush()
        _did(copy, entry)


def _offer(copy: Copy, entry: LoggedEntry) -> None:
    """The ways in that a product was on sale with since then."""
    body = entry.body
    wanted = {each["method"]: Way(each["method"], Decimal(each["price"]), each["days"]) for each in body["ways"]}
    of_product = (Offer.product == body["product"]) & Offer.ended_at.is_(None)
    standing = {row.method: row for row in copy.session.scalars(select(Offer).where(of_product))}
    if any(row.offered_at > entry.at for row in standing.values()):
        return
    same = {name for name, row in standing.items() if Way(row.method, row.price, row.days) == wanted.get(name)}
    for name in standing.keys() - same:
        standing[name].ended_at = entry.at
    copy.session.flush()
    copy.session.add_all(
        Offer(product=body["product"], method=way.method, price=way.price, days=way.days, offered_at=entry.at)
        for way in wanted.values()
        if way.method not in same
    )
    copy.session.flush()
    if same != standing.keys() or same != wanted.keys():
        _did(copy, entry)


def _publish(copy: Copy, entry: LoggedEntry) -> None:
    """The log has the digest of a notice and not its words."""
    name, number = _named(entry, "notice"), entry.body["version"]
    if name == NOTICE and copy.session.get(NoticeVersion, (name, number)) is None:
        copy.misses(Missing(VERSION, f"{name} {number}"))


def _send(copy: Copy, entry: LoggedEntry) -> None:
    """A message that was owed at the time of the copy went out, or was given up: it does not go out again."""
    body = entry.body
    row = copy.session.get(HolderMessage, int(_named(entry, "message")))
    waits = (MessageState.DUE.value, MessageState.SENDING.value)
    if row is None or row.state not in waits or row.created_at > entry.at:
        return
    if (row.kind, row.channel, row.subject) == (body["kind"], body["channel"], copy.subject(body["holder"])):
        row.state = body["state"]
        row.sent_at = entry.at if body["state"] == MessageState.SENT.value else None
        copy.session.flush()
        _did(copy, entry)


def _did(copy: Copy, entry: LoggedEntry) -> None:
    copy.done[entry.kind] += 1


def _named(entry: LoggedEntry, what: str) -> str:
    """What the entry is about: ``pass:`` and its name."""
    return entry.subject.removeprefix(f"{what}:")


def _holder(copy: Copy, commitment: str) -> Holder | None:
    subject = copy.subject(commitment)
    if subject is None:
        return None
    return copy.session.scalar(select(Holder).where(Holder.subject == subject))


def _shown(copy: Copy, body: Mapping[str, Any]) -> Holder | None:
    """Who entered by what the entry says: a holder, or a ticket."""
    if "ticket" in body:
        return copy.session.scalar(select(Holder).where(Holder.pass_id == body["ticket"]))
    return _holder(copy, body["holder"]) if "holder" in body else None


def _of_pass(copy: Copy, name: str) -> list[Held]:
    return holders.of_pass(copy.session, name) if copy.session.get(Pass, name) is not None else []


def _last(copy: Copy, name: str) -> date:
    """The last day of a pass of this copy."""
    return holders.of_pass(copy.session, name)[0].latest.last


def _committed(copy: Copy, holder: Holder, card: Card) -> str:
    return holders.card_commitment(copy.session, str(holder.subject), card.digest)
