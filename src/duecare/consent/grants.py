"""Grants: who agreed to what, when, on which notice and how; and how it ended.

Giving and withdrawing are one call each, and take effect in the caller's transaction. A grant is given for a purpose as
it was declared then: what is declared or announced later does not widen it.

The rule of this module: at most one grant of a person to a purpose stands (a unique index sees to it), and an end is
never refused for the clock, nor undone.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Select, case, func, literal, or_, select, true
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from duecare.clock import utc
from duecare.consent import notices
from duecare.consent.models import GrantEnd, GrantRow, NoticeAnswer
from duecare.consent.notices import Version, check_act
from duecare.consent.purposes import Purpose
from duecare.consent.purposes import end as end_purpose
from duecare.consent.purposes import purpose as declared
from duecare.consent.receipts import digest
from duecare.consent.records import content
from duecare.consent.subjects import commitment, lock
from duecare.errors import BadInput, UnknownName, UseError
from duecare.evidence.outbox import Act, record, record_all
from duecare.rules.engine import Engine, Request
from duecare.store.database import Moment, alone, parts, together

LISTED = 1000
"""Grants that one entry of evidence names, at most."""

_PART = 10_000  # subjects named in one statement


class EndKind(StrEnum):
    """How a grant ends. ``superseded``: the person agreed anew, to a newer version."""

    WITHDRAWAL = "withdrawal"
    PURPOSE_ENDED = "purpose_ended"
    EXPIRED = "expired"
    REQUEST = "request"
    SUPERSEDED = "superseded"


@dataclass(frozen=True)
class End:
    """How, by which screen, why and when a grant ended."""

    kind: EndKind
    how: str
    screen: str
    reason: str
    at: datetime


@dataclass(frozen=True)
class Grant:
    """A person's grant. ``separate``: it was given alone. ``end`` none: it stands."""

    id: int
    record: str
    act: str
    subject: str
    purpose: str
    purpose_version: int
    notice: str
    notice_version: int
    separate: bool
    language: str
    how: str
    screen: str
    given_at: datetime
    end: End | None = None

    @property
    def stands(self) -> bool:
        """Whether it has not ended."""
        return self.end is None


@dataclass(frozen=True)
class Event:
    """Something a person did or that happened to a grant of theirs: ``give``, ``end``, ``accept`` or ``decline``."""

    at: datetime
    kind: str
    about: str
    how: str
    screen: str
    grant: Grant | None = None
    number: int | None = None
    reason: str = ""


def give(
    session: Session,
    engine: Engine,
    subject: str,
    purposes: Sequence[str],
    *,
    notice: str,
    version: int,
    how: str,
    screen: str,
    at: datetime,
    affirmed: bool = True,
    language: str = "zh",
) -> list[Grant]:
    """Record one act by which a person agreed to ``purposes``; returns their grants, in that order.

    ``version`` of ``notice`` is what they were shown, in ``language``. ``affirmed``: they did something themselves. A
    grant that stands and is renewed ends as ``superseded``; one that this act adds nothing to is returned as it is.
    All are recorded or none. Raises ``Forbidden`` naming the holding, ``UnknownName``, ``BadInput``, ``UseError``.
    """
    check_act(how, screen)
    if not purposes or len(set(purposes)) < len(purposes):
        raise BadInput(f"The purposes are {list(purposes)}.", hint="Name at least one, and each once.")
    if language not in ("zh", "en"):
        raise BadInput(f"The language is {language!r}.", hint="Give zh or en: the one the notice was shown in.")
    lock(session, subject)
    for name in sorted(purposes):
        together(session, f"purpose:{name}")
    committed = commitment(session, subject)
    shown, newest = notices.version(session, notice, version), notices.version(session, notice, at=at)
    wanted = [_grantable(session, name, shown) for name in purposes]
    context = {"bundled": len(wanted) > 1, "informed": shown.number == newest.number, "affirmed": affirmed}
    reasons = [_permit(engine, each, context) for each in wanted]
    act, given = str(uuid.uuid4()), []
    for purpose, reason in zip(wanted, reasons, strict=True):
        row = GrantRow(
            record=str(uuid.uuid4()), act=act, subject=subject, purpose=purpose.name, purpose_version=purpose.number,
            notice=notice, notice_version=version, separate=len(wanted) == 1, language=language, how=how,
            screen=screen, given_at=utc(at), ended_at=None,
        )  # fmt: skip
        given.append(_give(session, row, purpose, shown, committed, reason))
    return given


def withdraw(session: Session, subject: str, purpose: str, *, how: str, screen: str, at: datetime) -> Grant:
    """The person takes their grant back, in effect at once; returns it as ended.

    One that has ended already is returned as it is. Raises ``UseError`` where there never was one.
    """
    check_act(how, screen)
    return _end(session, subject, purpose, End(EndKind.WITHDRAWAL, how, screen, "", utc(at)))


def end(
    session: Session,
    subject: str,
    purpose: str,
    kind: EndKind | str,
    *,
    reason: str,
    at: datetime,
    how: str = "system",
    screen: str = "",
) -> Grant:
    """End a grant for another ``reason`` than the person's own act; returns it as ended. As ``withdraw`` otherwise."""
    return _end(session, subject, purpose, End(_kind(kind), how, screen, reason, utc(at)))


def end_all(
    session: Session,
    purpose: str,
    kind: EndKind | str,
    *,
    reason: str,
    at: datetime,
    how: str = "system",
    screen: str = "",
    subjects: Select[str] | Sequence[str] | None = None,
    recorded_at: datetime | None = None,
) -> int:
    """End every standing grant to ``purpose``, or those of ``subjects``, as one set; returns how many ended.

    With ``purpose_ended`` and no ``subjects``, the purpose itself ends too. ``recorded_at``: where that is later than
    ``at``, when they ended.
    """
    over = End(_kind(kind), how, screen, reason, utc(at))
    recorded_at = recorded_at or at
    alone(session, f"purpose:{purpose}")
    if subjects is None and over.kind is EndKind.PURPOSE_ENDED:
        end_purpose(session, purpose, reason=reason, at=at, recorded_at=recorded_at)
    whole = (GrantRow.purpose == purpose) & GrantRow.ended_at.is_(None)
    if subjects is None:
        up_to = session.scalar(select(func.max(GrantRow.id)).where(whole))
        count = _insert(session, whole, over) if up_to else 0
        if count:
            # Under the lock this is true of every grant up to that id: so it proves the end of each, without a list.
            body = {"purpose": purpose, "up_to": up_to, "count": count, **_words(over)}
            record(session, "grant:end", f"purpose:{purpose}", body, recorded_at)
        return count
    chosen = [subjects] if isinstance(subjects, Select) else parts(subjects, _PART)
    ended = sorted(
        each for part in chosen for each in _insert_listed(session, whole & GrantRow.subject.in_(part), over)
    )
    said = [{"purpose": purpose, "grants": each, **_words(over)} for each in parts(ended, LISTED)]
    record_all(session, [Act("grant:end", f"purpose:{purpose}", body, recorded_at) for body in said])
    return len(ended)


def standing(
    session: Session, subject: str | None = None, purpose: str | None = None, at: datetime | None = None
) -> list[Grant]:
    """The grants that stand, or stood at ``at``: of one subject, to one purpose, or all; by subject and purpose."""
    where = true() & _stood(at)
    if subject is not None:
        where &= GrantRow.subject == subject
    if purpose is not None:
        where &= GrantRow.purpose == purpose
    return _grants(session, where)


def withdrawn(session: Session, subject: str, purpose: str) -> bool:
    """Whether the person took their last grant to ``purpose`` back; one that ended otherwise was not withdrawn."""
    latest = select(func.max(GrantRow.id)).where(GrantRow.subject == subject, GrantRow.purpose == purpose)
    asked = select(GrantEnd.kind).where(GrantEnd.grant_id == latest.scalar_subquery())
    return session.scalar(asked) == EndKind.WITHDRAWAL


def standing_sql(purpose: str, at: datetime | None = None) -> Select[str, int, int, bool]:
    """The standing grants to ``purpose`` as a select of subject, id, purpose_version and separate, to join with."""
    return select(GrantRow.subject, GrantRow.id, GrantRow.purpose_version, GrantRow.separate).where(
        GrantRow.purpose == purpose, _stood(at)
    )


def grant(session: Session, grant_id: int) -> Grant:
    """The grant of that id, ended or not. Raises ``UnknownName``."""
    found = _grants(session, GrantRow.id == grant_id)
    if not found:
        raise UnknownName("grant", str(grant_id), [])
    return found[0]


def history(session: Session, subject: str) -> list[Event]:
    """All that happened between the person and us, oldest first: grants given and ended, notices answered."""
    found = []
    for each in _grants(session, GrantRow.subject == subject):
        found.append(Event(each.given_at, "give", each.purpose, each.how, each.screen, each, each.notice_version))
        if each.end:
            over = each.end
            found.append(Event(over.at, "end", each.purpose, over.how, over.screen, each, reason=over.reason))
    answers = select(NoticeAnswer).where(NoticeAnswer.subject == subject).order_by(NoticeAnswer.id)
    for said in session.scalars(answers):
        kind = "accept" if said.accepted else "decline"
        found.append(Event(said.answered_at, kind, said.notice, said.how, said.screen, number=said.number))
    return sorted(found, key=_order)


def _order(event: Event) -> tuple[datetime, float, bool]:
    """By time; of one moment, a grant ends before the one that takes its place is given, and answers come last."""
    return event.at, event.grant.id if event.grant else math.inf, event.kind == "end"


def _give(
    session: Session, row: GrantRow, purpose: Purpose, shown: Version, committed: str, reasons: list[str]
) -> Grant:
    mine = (GrantRow.subject == row.subject) & (GrantRow.purpose == row.purpose)
    before = _grants(session, mine)[-1:]
    latest = max((each.end.at if each.end else each.given_at for each in before), default=row.given_at)
    if latest > row.given_at:
        raise BadInput(
            f"The grant would begin at {row.given_at}, before the last one's end or beginning at {latest}.",
            hint="The clock was put back. Set it right, and let the person agree again.",
        )
    if before and before[0].stands:
        stood = before[0]
        same = (stood.purpose_version, stood.notice, stood.notice_version) == (
            row.purpose_version, row.notice, row.notice_version,
        )  # fmt: skip
        if same and (stood.separate or not row.separate):
            return stood
        _end(session, row.subject, row.purpose, End(EndKind.SUPERSEDED, row.how, row.screen, "", row.given_at))
    session.add(row)
    session.flush()
    body = {
        "subject": committed, "purpose": row.purpose, "purpose_version": row.purpose_version, "notice": row.notice,
        "notice_version": row.notice_version, "notice_sha256": shown.digest, "separate": row.separate,
        "language": row.language, "how": row.how, "screen": row.screen, "act": row.act, "reasons": reasons,
        "receipt": digest(content(row, purpose, shown, committed)),
    }  # fmt: skip
    record(session, "grant:give", f"grant:{row.id}", body, row.given_at)
    return _grant(row, None)


def _grantable(session: Session, name: str, shown: Version) -> Purpose:
    found = declared(session, name)
    if found.ended_at is not None:
        raise UseError(
            f"The purpose {name} ended on {found.ended_at:%Y-%m-%d}.", hint="Nobody can be asked for it any more."
        )
    if found.notice != shown.name:
        raise BadInput(
            f"The purpose {name} is announced in the notice {found.notice}, not in {shown.name}.",
            hint=f"Show {found.notice} and name it.",
        )
    return found


def _permit(engine: Engine, purpose: Purpose, context: dict[str, bool]) -> list[str]:
    basis = purpose.basis.value
    asked = {**context, "special": bool(purpose.special), "basis": basis}
    decision = engine.decide(Request("grant", "Service", "consent", "Purpose", purpose.name, asked, {"basis": basis}))
    decision.require()
    return [reason.id for reason in decision.reasons]


def _end(session: Session, subject: str, purpose: str, over: End) -> Grant:
    lock(session, subject)
    together(session, f"purpose:{purpose}")
    mine = (GrantRow.subject == subject) & (GrantRow.purpose == purpose)
    last = _grants(session, mine)[-1:]
    committed = commitment(session, subject)
    if not last:
        raise UseError(f"The subject {subject} never agreed to {purpose}.", hint="There is nothing to withdraw.")
    if last[0].end:
        return last[0]
    if _insert(session, GrantRow.id == last[0].id, over):
        body = {"subject": committed, "grant": last[0].id, "purpose": purpose, **_words(over)}
        record(session, "grant:end", f"grant:{last[0].id}", body, over.at)
    return _grants(session, GrantRow.id == last[0].id)[0]


def _insert(session: Session, which: ColumnElement[bool], over: End) -> int:
    ending = _ending(session, which, over).execution_options(preserve_rowcount=True)
    return cast("CursorResult[Any]", session.execute(ending)).rowcount


def _insert_listed(session: Session, which: ColumnElement[bool], over: End) -> list[int]:
    return list(session.scalars(_ending(session, which, over).returning(GrantEnd.grant_id)))


def _ending(session: Session, which: ColumnElement[bool], over: End) -> postgresql.Insert | sqlite.Insert:
    """Ends for the grants in ``which``. One that another transaction has ended meanwhile is passed over.

    A clock that was put back refuses nobody's withdrawal: a grant ends when it was given, at the earliest.
    """
    at = literal(over.at, Moment())
    ended = select(
        GrantRow.id, *(literal(each) for each in (over.kind.value, over.how, over.screen, over.reason)),
        case((GrantRow.given_at > at, GrantRow.given_at), else_=at),
    ).where(which)  # fmt: skip
    columns = ["grant_id", "kind", "how", "screen", "reason", "ended_at"]
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    return insert(GrantEnd).from_select(columns, ended).on_conflict_do_nothing()


def _words(over: End) -> dict[str, str]:
    return {"kind": over.kind.value, "how": over.how, "screen": over.screen, "reason": over.reason}


def _stood(at: datetime | None) -> ColumnElement[bool]:
    if at is None:
        return GrantRow.ended_at.is_(None)
    return (GrantRow.given_at <= utc(at)) & or_(GrantRow.ended_at.is_(None), GrantRow.ended_at > utc(at))


def _grants(session: Session, where: ColumnElement[bool]) -> list[Grant]:
    asked = select(GrantRow, GrantEnd).join(GrantEnd, GrantEnd.grant_id == GrantRow.id, isouter=True).where(where)
    rows = session.execute(asked.order_by(GrantRow.subject, GrantRow.purpose, GrantRow.id))
    return [_grant(row, over) for row, over in rows]


def _grant(row: GrantRow, over: GrantEnd | None) -> Grant:
    return Grant(
        id=row.id, record=row.record, act=row.act, subject=row.subject, purpose=row.purpose,
        purpose_version=row.purpose_version, notice=row.notice, notice_version=row.notice_version,
        separate=row.separate, language=row.language, how=row.how, screen=row.screen, given_at=row.given_at,
        end=End(EndKind(over.kind), over.how, over.screen, over.reason, over.ended_at) if over else None,
    )  # fmt: skip


def _kind(given: EndKind | str) -> EndKind:
    try:
        return EndKind(given)
    except ValueError:
        raise BadInput(f"{given!r} is not how a grant ends.", hint=f"Give one of {', '.join(EndKind)}.") from None
