"""The holder's page of truth, as data: what is held of me, for what, until when, who opened it and why; and my rights.

The rule of this module: it shows everything and hides nothing that concerns the holder, and nothing that concerns
anybody else; and each right is one call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from duecare.consent import grants, notices, receipts, subjects
from duecare.consent import purposes as declared
from duecare.consent.grants import Grant
from duecare.consent.purposes import Purpose
from duecare.errors import UnknownName, UseError
from duecare.evidence.outbox import record, sequence
from duecare.systems.passes import enrolment, holders, messages, refunds
from duecare.systems.passes.holders import Held
from duecare.systems.passes.methods import CARD_ID_CARD, METHODS, method
from duecare.systems.passes.models import Card, Conflict, Visit
from duecare.systems.passes.once import Write, once_settled
from duecare.systems.passes.park import Park, day_of
from duecare.systems.passes.products import FEN
from duecare.systems.passes.purposes import AT_SALE, NOTICE
from duecare.systems.passes.refunds import Refund
from duecare.vault import erasure, exports, retention
from duecare.vault.erasure import Outcome


def truth(park: Park, subject: str) -> dict[str, Any]:
    """Everything about a subject, as JSON values but for dates and times. Raises ``UnknownName``.

    Of one of whom everything was erased, what was erased and why is still there.
    """
    with park.home.database.session() as session:
        subjects.subject(session, subject)
        words = {each.name: {"zh": each.zh, "en": each.en} for each in declared.fields(session)}
        return {
            "subject": subject,
            "pass": _pass(park, session, subject),
            "notice": _notice(session, subject),
            "purposes": [_purpose(session, subject, each) for each in declared.purposes(session)],
            "held": [
                {**words.get(each.field, {}), **each.as_json()} for each in park.vault.holds(session, subject)
            ],
            "openings": [
                {
                    "at": each.at, "by": each.by, "why": each.why, "purpose": each.purpose, "kind": each.kind,
                    "fields": list(each.fields), "people": each.subjects, "entry": each.entry,
                }
                for each in park.vault.openings(session, subject)
            ],
            "copies": [
                {"made_at": each.made_at, "expires_at": each.expires_at, "purposes": list(each.purposes)}
                for each in exports.exports(park.vault, subject)
            ],
            "visits": _visits(session, subject),
            "conflicts": _conflicts(session, subject),
            "messages": [
                {"at": each.created_at, "channel": each.channel, "state": each.state, "sent_at": each.sent_at}
                | {"zh": each.said["zh"], "en": each.said["en"]}
                for each in messages.of_holder(session, subject)
            ],
            "erasures": [_erasure(each) for each in erasure.erasures(session, subject)],
            "history": [_event(each) for each in grants.history(session, subject)],
        }  # fmt: skip


def withdraw(park: Park, subject: str, purpose: str, *, how: str, screen: str, once_key: str = "") -> Outcome:
    """Take a consent back, in effect at once; what was held for it alone is erased. Call it outside of a transaction.

    Where the agreed way in rested on it, that is card and ID card from now on. Raises ``UnknownName``; ``UseError`` for
    what is no consent but the contract, or where it was never given.
    """
    if purpose in AT_SALE:
        raise UseError(
            f"{purpose} does not rest on a consent: it is the contract of the pass.",
            hint="To end the pass and have everything erased, ask for erasure.",
        )
    write = Write.of(park, subject, once_key, {"write": "withdraw", "purpose": purpose})
    return once_settled(park, write, lambda: _withdraw(park, subject, purpose, how, screen), _kept, _again(park))


def _withdraw(park: Park, subject: str, purpose: str, how: str, screen: str) -> Outcome:
    def along(session: Session) -> None:
        declared.purpose(session, purpose)
        holders.lock(session, subject)
        held = holders.by_subject(session, subject)
        if METHODS[held.holder.method].purpose == purpose:
            enrolment.agree(session, held, CARD_ID_CARD.name, by=f"holder, {screen}", at=park.now())

    return erasure.withdraw(park.vault, subject, purpose, how=how, screen=screen, along=along)


def erase(park: Park, subject: str, *, ends_pass: bool, how: str, screen: str, once_key: str = "") -> Outcome:
    """Erase everything, at the person's request (PIPL art. 47). It ends the pass, which ``ends_pass`` must say.

    Call it outside of any transaction. Raises ``UseError`` where it does not.
    """
    write = Write.of(park, subject, once_key, {"write": "erase", "ends_pass": ends_pass})
    return once_settled(park, write, lambda: _erase(park, subject, ends_pass, how, screen), _kept, _again(park))


def _erase(park: Park, subject: str, ends_pass: bool, how: str, screen: str) -> Outcome:
    at = park.now()

    def along(session: Session) -> None:
        holders.lock(session, subject)
        held = holders.by_subject(session, subject)
        if not ends_pass and not held.fault(day_of(at)):
            raise UseError(
                "The pass is valid, and ends when everything is erased.", hint="Say that it may end (ends_pass)."
            )
        if held.holder.left_on is None:
            held.holder.left_on = day_of(at)
        body = {"holder": subjects.commitment(session, subject), "how": how, "screen": screen}
        record(session, "pass:end", f"pass:{held.sold.id}", body, at)

    return erasure.erase(park.vault, subject, note=f"{how}, {screen}", along=along)


def _kept(done: Outcome) -> dict[str, Any]:
    return {"erasures": [each.id for each in done.erasures], "held": list(done.held), "pending": done.pending}


def _again(park: Park) -> Callable[[Mapping[str, Any]], Outcome]:
    def again(kept: Mapping[str, Any]) -> Outcome:
        found = tuple(erasure.get(park.vault, each) for each in kept["erasures"])
        return Outcome(found, tuple(kept["held"]), kept["pending"])

    return again


def certificate(park: Park, subject: str, name: str) -> bytes:
    """One of the subject's certificates. Raises ``UnknownName``, ``WitnessUnavailable``, ``BadInput``."""
    if erasure.get(park.vault, name).subject != subject:
        raise UnknownName("erasure", name, None)
    return erasure.certificate(park.vault, name)


def receipt(park: Park, subject: str, grant: int) -> bytes:
    """The receipt of one of the subject's grants, as a file. Raises ``UnknownName``, ``EvidenceBroken``."""
    with park.home.database.session() as session:
        mine = {each.grant.id for each in grants.history(session, subject) if each.grant}
    if grant not in mine:
        raise UnknownName("grant", str(grant), sorted(str(each) for each in mine))
    sequence(park.home.database, park.vault.log)
    return receipts.receipt_bytes(receipts.build(park.home.database, park.vault.log, grant))


def copy(park: Park, subject: str) -> bytes:
    """The person's own copy (PIPL art. 45), as a JSON document. Raises ``UnknownName``, ``NotGranted``."""
    return exports.copy(park.vault, subject, "service:passes")


def _pass(park: Park, session: Session, subject: str) -> dict[str, Any] | None:
    try:
        held = holders.by_subject(session, subject)
    except UnknownName:
        return None
    cards = session.scalars(select(Card).where(Card.holder_id == held.holder.id).order_by(Card.issued_at))
    agreed, product, left = method(held.holder.method), held.product, held.holder.left_on
    # Others who share the pass may have renewed it after this holder left.
    mine = [each for each in held.periods if left is None or each.first <= left] or held.periods[:1]
    return {
        "id": held.sold.id,
        "product": {"name": product.name, "zh": product.zh, "en": product.en},
        "year": mine[-1].year,
        "first": mine[0].first,
        "last": mine[-1].last,
        "ended_on": held.holder.left_on,
        "agreed_way": {"name": agreed.name, "zh": agreed.zh, "en": agreed.en},
        "ways": list(dict.fromkeys([agreed.name, CARD_ID_CARD.name])),
        "cards": [{"issued_at": card.issued_at, "lost_at": card.lost_at} for card in cards],
        "refund": _refund(park, session, held),
    }


def _refund(park: Park, session: Session, held: Held) -> dict[str, Any]:
    """Whether a refund is owed, and what it would be today; or what was paid, when, why and how it was computed."""
    if refunds.entitled(session, held, park.today()):
        quote = refunds.quote(session, held.sold.id, [str(held.holder.subject)], park.today())
        return {"owed": True, "paid": None, **_computed(quote)}
    paid = refunds.paid(session, held)
    if paid is None:
        return {"owed": False, "paid": None}
    said = {"on": paid.on, "persons": paid.persons, "reason": paid.reason, **_computed(paid.refund)}
    return {"owed": False, "paid": said}


def _computed(refund: Refund) -> dict[str, Any]:
    """An amount, and what it was computed of."""
    price = str(refund.price.quantize(FEN, ROUND_HALF_UP))
    return {"amount": str(refund.amount), "price": price, "days_left": refund.days_left, "days": refund.days}


def _notice(session: Session, subject: str) -> dict[str, Any]:
    bound, newest = notices.binding(session, subject, NOTICE), notices.version(session, NOTICE)
    shown: dict[str, Any] = {"name": NOTICE, "binding": bound, "newest": newest.number}
    if bound is not None and bound != newest.number:
        shown["difference"] = notices.difference(notices.version(session, NOTICE, bound), newest).as_json()
        shown["answer"] = "declined" if notices.said(session, subject, NOTICE, newest.number) is False else "none"
    return shown


def _purpose(session: Session, subject: str, purpose: Purpose) -> dict[str, Any]:
    given = [each.grant for each in grants.history(session, subject) if each.grant and each.kind == "give"]
    mine = [each for each in given if each.purpose == purpose.name]
    latest = mine[-1] if mine else None
    kept = retention.expiry(session, subject, purpose.retention)
    return {
        "name": purpose.name,
        "zh": purpose.zh,
        "en": purpose.en,
        "fields": list(purpose.fields),
        "basis": purpose.basis.value,
        "special": [each.value for each in purpose.special],
        "required": purpose.required,
        "necessity": {"zh": purpose.necessity.zh, "en": purpose.necessity.en} if purpose.necessity else None,
        "ended_at": purpose.ended_at,
        "until": kept[1] if kept else None,
        "grant": _grant(latest) if latest else None,
        "can_withdraw": latest is not None and latest.stands and purpose.name not in AT_SALE,
    }


def _grant(grant: Grant) -> dict[str, Any]:
    over = grant.end
    return {
        "id": grant.id,
        "notice_version": grant.notice_version,
        "separate": grant.separate,
        "given_at": grant.given_at,
        "how": grant.how,
        "screen": grant.screen,
        "ended": None if over is None else {"at": over.at, "why": over.kind.value, "reason": over.reason},
    }


def _visits(session: Session, subject: str) -> list[dict[str, Any]]:
    rows = session.scalars(select(Visit).where(Visit.subject == subject).order_by(Visit.at))
    return [{"at": row.at, "gate": row.gate, "way": row.method, "offline": row.offline} for row in rows]


def _conflicts(session: Session, subject: str) -> list[dict[str, Any]]:
    rows = session.scalars(select(Conflict).where(Conflict.subject == subject).order_by(Conflict.at, Conflict.id))
    return [
        {
            "at": row.at, "gate": row.gate, "kind": row.kind, "noted_at": row.noted_at,
            "settled_at": row.settled_at, "settled_by": row.settled_by, "note": row.note,
        }
        for row in rows
    ]  # fmt: skip


def _erasure(done: erasure.Erasure) -> dict[str, Any]:
    return {
        "id": done.id,
        "purpose": done.purpose,
        "reason": done.reason,
        "article": done.article,
        "note": done.note,
        "state": done.state.value,
        "begun_at": done.begun_at,
        "erased_at": done.erased_at,
        "places": dict(done.places),
        "certificate": done.certificate is not None,
    }


def _event(happened: grants.Event) -> dict[str, Any]:
    return {
        "at": happened.at,
        "what": happened.kind,
        "about": happened.about,
        "how": happened.how,
        "screen": happened.screen,
        "reason": happened.reason,
        "version": happened.number,
    }
