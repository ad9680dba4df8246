"""Deciding at the gate: is the pass valid, is this the agreed way in, is it the holder who stands there.

The door's three steps: the rules are asked (action ``enter``), the one sealed value that is needed is opened through
the vault and compared, and the entry is recorded with its evidence.

The rule of this module: the gate opens for the holder in the way they agreed to, or with card and ID card, and in no
other (case 2: to change the way in alone is a breach).
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import delete, exists, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from duecare.consent import grants, notices, subjects
from duecare.errors import BadInput, Erased, NeverHeld, NotGranted
from duecare.evidence.outbox import record
from duecare.rules.decision import Decision
from duecare.rules.engine import Request
from duecare.store.database import alone
from duecare.systems.passes import holders, lacking, matching, offers
from duecare.systems.passes.holders import Held
from duecare.systems.passes.matching import Template
from duecare.systems.passes.methods import CARD_ID_CARD, METHODS, TICKET, Method
from duecare.systems.passes.models import Conflict, ConflictKind, GateAnswer, Holder, Visit
from duecare.systems.passes.park import Park, day_of
from duecare.systems.passes.purposes import NOTICE, entry_methods
from duecare.systems.passes.wire import WORDS, Answer, Question, Record, Word, moment, words

ANSWERS_KEPT = timedelta(days=30)
"""How long an answer is remembered, so that the same question is answered the same."""

HANDED_OVER = "handed_over"
"""The member of a remembered answer that says that the gate's own record of the question was taken."""

NO_QUESTION = ""
"""In the place of a question's fingerprint: the centre was never asked, or has forgotten its answer, and was handed the
record."""


class AnotherQuestion(BadInput):
    """A gate used the key of one question for another."""


@dataclass(frozen=True)
class _Case:
    """What is known before anything is opened. ``told``: the answer is settled; else the compared value decides, and
    ``reasons`` say why it opens."""

    held: Held | None
    told: tuple[bool, tuple[Word, ...]] | None
    reasons: tuple[Word, ...] = ()


def enter(park: Park, gate: str, question: Question, key: str) -> Answer:
    """Decide a question of the gate called ``gate``. ``key`` names the question: asked again, it is answered the same.

    Call it outside of any transaction. Raises ``AnotherQuestion``.
    """
    fingerprint = _fingerprint(question)
    with park.home.database.session() as session:
        before = _answered(session, gate, key, fingerprint)
        if before is not None:
            return before
        case = _judge(park, session, gate, question)
    opened, said = case.told or _compare(park, gate, question, case)
    ways = () if opened or case.held is None or case.held.holder.subject is None else (CARD_ID_CARD.name,)
    answer = Answer(secrets.token_hex(16), opened, question.method.name, said, ways)
    try:
        with park.home.database.session() as session:
            if opened and _used_meanwhile(session, case):
                opened, said = _no("gate.used")
                answer = replace(answer, open=opened, words=said)
            _record(session, park, gate, question, key, fingerprint, case, answer)
    except IntegrityError:
        # The same question came twice at once, and the other was faster.
        with park.home.database.session() as session:
            before = _answered(session, gate, key, fingerprint)
        if before is None:
            raise
        return before
    return answer


def reconcile(park: Park, gate: str, records: list[Record]) -> tuple[list[str], list[str]]:
    """Take what a gate decided alone; the keys that were taken, and those that a person has to look at.

    A record that was taken before is taken again without effect.
    """
    flagged = []
    for each in records:
        with park.home.database.session() as session:
            if _reconcile(session, park, gate, each):
                flagged.append(each.key)
    return [each.key for each in records], flagged


def conflicts(session: Session, *, settled: bool = False) -> list[Conflict]:
    """What waits for a person to look at, oldest first; with ``settled``, also what was settled."""
    asked = select(Conflict).order_by(Conflict.id)
    return list(session.scalars(asked if settled else asked.where(Conflict.settled_at.is_(None))))


def settle(session: Session, conflict: int, *, by: str, note: str, at: datetime) -> None:
    """A person has looked at a conflict. Raises ``BadInput`` where there is none that is open, or nothing is said."""
    row = session.get(Conflict, conflict)
    if row is None or row.settled_at is not None or not note.strip():
        raise BadInput(
            f"Conflict {conflict} cannot be settled so.", hint="Name one that is open, and say what was found."
        )
    row.settled_at, row.settled_by, row.note = at, by, note
    body = {"gate": row.gate, "key": row.key, "kind": row.kind, "by": by, "note": note}
    record(session, "entry:settle", f"conflict:{conflict}", body, at)


def forget_answers(session: Session, at: datetime) -> None:
    """Forget the answers that no gate will ask for again. That a gate's record was taken is not forgotten: no gate
    has to say when it hands it over again."""
    old, taken = GateAnswer.at < at - ANSWERS_KEPT, GateAnswer.answer[HANDED_OVER].as_boolean()
    session.execute(delete(GateAnswer).where(old, taken.is_not(True)))
    told = update(GateAnswer).where(old, GateAnswer.question != NO_QUESTION)
    session.execute(told.values(question=NO_QUESTION, answer={HANDED_OVER: True}))


def ask(park: Park, session: Session, gate: str, held: Held, method: Method) -> Decision:
    """What the rules say to asking this holder to enter in this way."""
    return _decide(park, session, gate, held, method, agreed=_agreed(session, held, method))


def _decide(park: Park, session: Session, gate: str, held: Held, method: Method, *, agreed: bool) -> Decision:
    context = {"biometric": method.biometric, "agreed": agreed, "granted": _granted(session, held, method)}
    return park.engine.decide(Request("enter", "Service", f"gate-{gate}", "Method", method.name, context))


def _judge(park: Park, session: Session, gate: str, question: Question) -> _Case:
    found = holders.by_card(session, question.card)
    if found is None:
        restored = lacking.any_card(session, park)
        return _Case(None, _no("gate.card_not_restored" if restored else "gate.unknown_card"))
    card, held = found
    if card.lost_at is not None:
        return _Case(held, _no("gate.card_lost"))
    fault = held.fault(day_of(question.at))
    if fault:
        return _Case(held, _no(fault))
    if held.holder.subject is None:
        return _Case(held, _ticket(session, held, question))
    if question.method is TICKET:
        return _Case(held, (False, _missing(park, session, gate, held)))
    if not _exists(session, held, question.method):
        return _Case(held, _no("gate.not_offered"))
    decision = ask(park, session, gate, held, question.method)
    if not decision.allowed:
        return _Case(held, (False, _denied(park, session, gate, held, question.method, decision)))
    return _Case(held, None, words(decision))


def _denied(
    park: Park, session: Session, gate: str, held: Held, method: Method, decision: Decision
) -> tuple[Word, ...]:
    """Why this way in is denied. To one who took their consent to it back that is why, and nothing else: nobody has
    changed what was agreed with them."""
    if not method.purpose or not grants.withdrawn(session, str(held.holder.subject), method.purpose):
        return words(decision)
    alone = _decide(park, session, gate, held, method, agreed=True)
    return (WORDS["gate.withdrawn"], *(() if alone.allowed else words(alone)))


def _missing(park: Park, session: Session, gate: str, held: Held) -> tuple[Word, ...]:
    """What is to be shown beside a pass that was shown alone: as agreed with its holder; where the rules deny that, the
    ID card, with why they do."""
    denied: list[Word] = []
    for each in dict.fromkeys((METHODS[held.holder.method], CARD_ID_CARD)):
        decision = ask(park, session, gate, held, each)
        if decision.allowed:
            return (WORDS[f"gate.show_{each.shows}"], *denied)
        denied += [word for word in words(decision) if word not in denied]
    return tuple(denied)


def _ticket(session: Session, held: Held, question: Question) -> tuple[bool, tuple[Word, ...]]:
    if question.method is not TICKET:
        return _no("gate.not_offered")
    used = select(exists().where(Visit.holder_id == held.holder.id))
    return _no("gate.used") if session.scalar(used) else (True, (WORDS["gate.ticket"],))


def _used_meanwhile(session: Session, case: _Case) -> bool:
    """Whether a ticket was used at another gate since it was judged. Of two gates at once the second waits here."""
    if case.held is None or case.held.holder.subject is not None:
        return False
    ticket = case.held.holder.id
    session.execute(select(Holder.id).where(Holder.id == ticket).with_for_update())
    return bool(session.scalar(select(exists().where(Visit.holder_id == ticket))))


def _exists(session: Session, held: Held, method: Method) -> bool:
    """Whether there is this way in at all: on sale, or in what was agreed with the holder."""
    return offers.is_offered(session, method.name) or method.name in _terms(session, held)


def _agreed(session: Session, held: Held, method: Method) -> bool:
    """Whether this is the way in that was agreed, by the notice that binds the holder; or the one open to everyone."""
    return method is CARD_ID_CARD or (held.holder.method == method.name and method.name in _terms(session, held))


def _terms(session: Session, held: Held) -> Sequence[str]:
    """The ways in of the notice that binds the holder."""
    bound = notices.binding(session, str(held.holder.subject), NOTICE)
    return () if bound is None else entry_methods(notices.version(session, NOTICE, bound).notice)


def _granted(session: Session, held: Held, method: Method) -> bool:
    return bool(method.purpose) and bool(grants.standing(session, str(held.holder.subject), method.purpose))


def _compare(park: Park, gate: str, question: Question, case: _Case) -> tuple[bool, tuple[Word, ...]]:
    """Open the one value that is needed, and compare."""
    assert case.held is not None
    method, subject = question.method, str(case.held.holder.subject)
    try:
        presented = Template.parse(question.template, matching.KINDS[method.shows]) if method.biometric else None
    except BadInput:
        return _no("gate.unreadable")
    try:
        value = park.vault.open(method.field, subject, method.purpose, f"service:gate-{gate}", why="入园核验 / entry")
    except (NeverHeld, NotGranted, Erased):
        return _no("gate.not_enrolled")
    if isinstance(value, bytes):
        assert presented is not None
        same = matching.same_person(Template.parse(value, presented.kind), presented)
    else:
        same = hmac.compare_digest(value, question.code)
    if not same:
        return _no("gate.no_match")
    return True, case.reasons


def _record(
    session: Session,
    park: Park,
    gate: str,
    question: Question,
    key: str,
    fingerprint: str,
    case: _Case,
    answer: Answer,
) -> None:
    at = park.now()
    _lock(session, gate, key)
    session.add(
        GateAnswer(gate=gate, key=key, question=fingerprint, opened=answer.open, answer=answer.as_json(), at=at)
    )
    session.flush()
    if answer.open and case.held is not None:
        _visit(session, case.held, gate, question.method.name, question.at, key, offline=False)
    body = {
        "gate": gate,
        "decision": answer.decision,
        "key": key,
        "at": moment(question.at),
        "method": question.method.name,
        "reasons": [word.id for word in answer.words],
        **_who(session, case.held),
    }
    record(session, "entry:open" if answer.open else "entry:refuse", f"gate:{gate}", body, at)


def _reconcile(session: Session, park: Park, gate: str, said: Record) -> bool:
    """Take one record; whether a person has to look at it."""
    _lock(session, gate, said.key)
    known = session.get(GateAnswer, (gate, said.key))
    if known is not None and HANDED_OVER in known.answer:
        return bool(session.scalar(select(exists().where(Conflict.gate == gate, Conflict.key == said.key))))
    found = holders.by_card(session, said.card)
    held = found[1] if found else None
    kinds = _conflicts(session, said, known, found)
    at = park.now()
    entered = (known is not None and known.opened) or session.scalar(
        select(exists().where(Visit.gate == gate, Visit.key == said.key))  # stays when the answer is forgotten
    )
    if known is None:
        session.add(
            GateAnswer(
                gate=gate, key=said.key, question=NO_QUESTION, opened=said.open, answer={HANDED_OVER: True}, at=at
            )
        )
    else:
        known.answer = {**known.answer, HANDED_OVER: True}
    if said.open and held is not None and not entered:
        _visit(session, held, gate, said.method, said.at, said.key, offline=True)
    for kind in kinds:
        subject = held.holder.subject if held else None
        taken = select(exists().where(Conflict.gate == gate, Conflict.key == said.key, Conflict.kind == kind.value))
        if not session.scalar(taken):
            session.add(
                Conflict(
                    gate=gate, key=said.key, kind=kind.value, card=said.card, subject=subject, at=said.at,
                    noted_at=at, settled_at=None, settled_by="", note="",
                )
            )  # fmt: skip
    body = {
        "gate": gate,
        "decision": said.key,
        "at": moment(said.at),
        "open": said.open,
        "method": said.method,
        "reason": said.reason,
        "list": said.list,
        "conflicts": [kind.value for kind in kinds],
        **_who(session, held),
    }
    record(session, "entry:reconcile", f"gate:{gate}", body, at)
    return bool(kinds)


def _conflicts(
    session: Session, said: Record, known: GateAnswer | None, found: tuple[Any, Held] | None
) -> list[ConflictKind]:
    """Where the centre would have decided otherwise at the time."""
    kinds = []
    if known is not None and known.opened is not said.open:
        kinds.append(ConflictKind.DECIDED_TWICE)
    if not said.open:
        return kinds
    if found is None:
        return [*kinds, ConflictKind.UNKNOWN_CARD]
    card, held = found
    if card.lost_at is not None and card.lost_at <= said.at:
        kinds.append(ConflictKind.CARD_LOST)
    if held.fault(day_of(said.at)):
        kinds.append(ConflictKind.NOT_VALID)
    if held.holder.subject is None and session.scalar(select(exists().where(Visit.holder_id == held.holder.id))):
        kinds.append(ConflictKind.USED_TWICE)
    return kinds


def _visit(session: Session, held: Held, gate: str, method: str, at: datetime, key: str, *, offline: bool) -> None:
    session.add(
        Visit(
            holder_id=held.holder.id, subject=held.holder.subject, gate=gate, method=method, at=at, key=key,
            offline=offline,
        )
    )  # fmt: skip


def _answered(session: Session, gate: str, key: str, fingerprint: str) -> Answer | None:
    row = session.get(GateAnswer, (gate, key))
    if row is None:
        return None
    if row.question != fingerprint:
        raise AnotherQuestion(f"The key {key} was used for another question.", hint="Draw a new key for each question.")
    said = {name: value for name, value in row.answer.items() if name != HANDED_OVER}
    return Answer.parse(json.dumps(said).encode())


def _lock(session: Session, gate: str, key: str) -> None:
    """Of a question and the record of it, or the same of either twice, one comes after the other."""
    alone(session, f"question:{gate}:{key}")


def _fingerprint(question: Question) -> str:
    """What tells questions apart; the template, which is nobody's business afterwards, is left out."""
    said = {"card": question.card, "method": question.method.name, "code": question.code, "at": str(question.at)}
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _who(session: Session, held: Held | None) -> dict[str, str]:
    """Of whom the evidence is: a holder by their commitment, a ticket, which is nobody's, by its own name."""
    if held is None:
        return {}
    if held.product.named:
        subject = held.holder.subject
        return {"holder": subjects.commitment(session, subject)} if subject else {}
    return {"ticket": held.sold.id}


def _no(word: str) -> tuple[bool, tuple[Word, ...]]:
    return False, (WORDS[word],)
