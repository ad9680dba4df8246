"""Retention: how long what is held may be kept, shown before it ends, and ended by itself.

A purpose keeps data until so long after an event, such as three months after the pass expired. What was told to the
person when they agreed counts: the version of the purpose that their grant is for. What a legal hold keeps stays, for
nothing but to be kept.

The rule of this module: a run erases what is due and whatever earlier runs missed, however long nothing ran; the dry
run shows exactly what a run would do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import ColumnElement, case, exists, func, select, true
from sqlalchemy.orm import Session, aliased

from duecare.clock import BEIJING, SystemClock, utc
from duecare.consent import grants
from duecare.consent import purposes as declared
from duecare.consent import subjects as people
from duecare.consent.grants import EndKind
from duecare.consent.models import GrantEnd, GrantRow
from duecare.consent.purposes import Purpose, Retention
from duecare.errors import BadInput, EvidenceBroken, UnknownName
from duecare.evidence.outbox import record
from duecare.store.database import alone, parts
from duecare.vault import erasure, exports
from duecare.vault.acts import held_sql
from duecare.vault.certification import Progress
from duecare.vault.entries import committed, one_line
from duecare.vault.erasure import END, Finished, reason_of
from duecare.vault.models import KeyState, LegalHold, RetentionEvent, VaultKey, in_state
from duecare.vault.succession import follow, followed

if TYPE_CHECKING:
    from duecare.vault.records import Vault

EVERY_SECONDS = 3600
"""How often ``scheduled`` looks."""

_YEARS = range(1000, 9000)
_AT_ONCE = 1000  # subjects in one act


@dataclass(frozen=True)
class Due:
    """What may not be kept any longer. ``reason``: ``schedule``, or how the grant ended. ``event``, ``on`` and
    ``until`` (the last day it might be kept) where it is by schedule. ``held``: a legal hold keeps it."""

    subject: str
    purpose: str
    reason: str
    held: bool
    event: str = ""
    on: date | None = None
    until: date | None = None


@dataclass(frozen=True)
class Ran:
    """What a run did: of how many subjects and purposes it ``erased`` something, how many are ``held``, and what was
    ``finished`` besides."""

    erased: int
    held: int
    finished: Finished


@dataclass(frozen=True)
class Hold:
    """A legal hold: on a subject or all, for a purpose or all. ``lifted_at`` none: it stands."""

    id: int
    subject: str | None
    purpose: str | None
    article: str
    reason: str
    placed_by: str
    placed_at: datetime
    lifted_by: str | None
    lift_reason: str | None
    lifted_at: datetime | None


def event(session: Session, subject: str, name: str, on: date | None, *, at: datetime, ref: str = "") -> None:
    """Record that ``name`` (an event of a retention, such as ``pass_expired``) is on the day ``on`` for a subject.

    ``ref`` tells several of a name apart (which pass). Of one ``ref`` the event recorded last counts, so that a renewal
    moves it and ``on`` none calls it off; of several, the latest day. The evidence commits to ``ref`` with the
    subject's salt, so that an older copy of the database takes the event back from the log. Raises ``UnknownName``,
    ``BadInput``.
    """
    one_line(name=name)
    about = people.commitment(session, subject)
    salt = people.subject(session, subject).salt or ""
    session.add(RetentionEvent(subject=subject, name=name, ref=ref, on=on, recorded_at=utc(at)))
    said = {"event": name, "on": on.isoformat() if on else None}
    body = {**said, "subject": about, "ref": committed(ref, salt) if ref else ""}
    record(session, "retention:event", f"event:{name}", body, at)
    session.flush()


def due(vault: Vault, session: Session, at: datetime) -> list[Due]:
    """What a run at ``at`` would erase, and what a legal hold would keep; by purpose and subject. Changes nothing.

    Raises ``BadInput`` where ``at`` is so near an end of the calendar that times to keep things cannot be counted.
    """
    if utc(at).year not in _YEARS:
        hint = f"Name a time from {_YEARS.start} to {_YEARS.stop - 1}."
        raise BadInput(f"What is due in the year {utc(at).year} cannot be counted.", hint=hint)
    return sorted([*_ended(session), *_expired(vault, session, at)], key=lambda each: (each.purpose, each.subject))


def run(vault: Vault, progress: Progress | None = None, certifying: Progress | None = None) -> Ran:
    """Erase what is due, finish what was left undone, and remove exports that have expired or outlived their keys.

    Call it outside of any transaction. Killed anywhere, the next run goes on. ``progress`` is told how many of all are
    erased, ``certifying`` how many of the certificates that wait are made.
    """
    at = vault.clock.now()
    with vault.database.session() as session:
        _follow(session)
        found = due(vault, session, at)
    groups: dict[tuple[str, str], list[Due]] = defaultdict(list)
    for each in found:
        groups[each.purpose, each.reason].append(each)
    erased = done = 0
    for (purpose, reason), members in sorted(groups.items()):
        for part in parts(members, _AT_ONCE):
            erased += _erase(vault, purpose, reason, part, at)
            done += len(part)
            if progress is not None:
                progress(done, len(found))
    exports.remove_expired(vault, at)
    exports.remove_erased(vault)
    erasure.sweep(vault)
    finished = erasure.finish(vault, progress=certifying)
    try:
        vault.newest.ask()  # so that a restart finds a word of theirs that is not old
    except EvidenceBroken as error:
        structlog.get_logger().error("a witness contradicts the log", why=str(error))
    return Ran(erased, sum(each.held for each in found), finished)


def scheduled(vault: Vault, every: int = EVERY_SECONDS) -> BackgroundScheduler:
    """A scheduler, started, that runs retention at once (what was missed while nothing ran) and then ``every`` seconds.

    Shut it down before the vault is closed.
    """
    scheduler = BackgroundScheduler(timezone="UTC")
    # It waits by the machine's clock, whatever the vault's says; each run asks the vault's what is due.
    first = SystemClock().now()
    scheduler.add_job(run, "interval", [vault], seconds=every, next_run_time=first, coalesce=True, max_instances=1)
    scheduler.start()
    return scheduler


def legal_hold(
    session: Session,
    *,
    article: str,
    reason: str,
    by: str,
    at: datetime,
    subject: str | None = None,
    purpose: str | None = None,
) -> int:
    """Stop erasure of a subject, a purpose, both together, or (without either) everything; returns the hold's id.

    ``article`` is the law or order, ``reason`` why here. What is held is stored and used for nothing else: grants end
    as they would. Raises ``BadInput``, ``UnknownName``.
    """
    one_line(article=article, reason=reason, by=by)
    who = {"subject": people.commitment(session, subject)} if subject is not None else {}
    if purpose is not None:
        declared.purpose(session, purpose)  # a hold on a name that is none would protect nothing
    row = LegalHold(subject=subject, purpose=purpose, article=article, reason=reason, placed_by=by, placed_at=utc(at))
    session.add(row)
    session.flush()
    body = {**who, "purpose": purpose, "article": article, "reason": reason, "by": by}
    record(session, "legal_hold:place", f"legal_hold:{row.id}", body, at)
    return row.id


def lift(session: Session, hold: int, *, by: str, reason: str, at: datetime) -> None:
    """Lift a legal hold: what became due meanwhile goes with the next run. Raises ``UnknownName``, ``BadInput``."""
    one_line(by=by, reason=reason)
    row = session.get(LegalHold, hold)
    if row is None:
        raise UnknownName("legal hold", str(hold), [str(each.id) for each in legal_holds(session)])
    if row.lifted_at is not None:
        raise BadInput(f"The legal hold {hold} was lifted on {row.lifted_at:%Y-%m-%d}.", hint="Nothing is left to do.")
    row.lifted_by, row.lift_reason, row.lifted_at = by, reason, utc(at)
    record(session, "legal_hold:lift", f"legal_hold:{hold}", {"reason": reason, "by": by}, at)
    session.flush()


def legal_holds(session: Session, *, lifted: bool = False) -> list[Hold]:
    """The legal holds that stand, or with ``lifted`` all there ever were."""
    asked = select(LegalHold).where(true() if lifted else LegalHold.lifted_at.is_(None)).order_by(LegalHold.id)
    return [
        Hold(
            id=row.id,
            subject=row.subject,
            purpose=row.purpose,
            article=row.article,
            reason=row.reason,
            placed_by=row.placed_by,
            placed_at=row.placed_at,
            lifted_by=row.lifted_by,
            lift_reason=row.lift_reason,
            lifted_at=row.lifted_at,
        )
        for row in session.scalars(asked)
    ]


def expiry(session: Session, subject: str, kept: Retention) -> tuple[date, date] | None:
    """The day of the event that counts for a subject, and the last day until which data may be kept; none: no event."""
    # Not max() in the database: SQLite would go through the events of all, from the latest day on.
    asked = select(RetentionEvent.on).where(RetentionEvent.subject == subject, _counts(kept.event))
    on = max((each for each in session.scalars(asked) if each is not None), default=None)
    return None if on is None else (on, kept.until(on))


def _ended(session: Session, which: ColumnElement[bool] | None = None) -> list[Due]:
    """Keys whose grant has ended and was not given anew, for which nothing was erased yet; all, or of ``which``."""
    mine = aliased(GrantRow)
    how = (
        select(GrantEnd.kind)
        .join(mine, mine.id == GrantEnd.grant_id)
        .where(mine.subject == VaultKey.subject, mine.purpose == VaultKey.purpose)
        .where(GrantEnd.kind != EndKind.SUPERSEDED)
        .order_by(mine.id.desc())
        .limit(1)
    )
    rows = session.execute(
        select(VaultKey.subject, VaultKey.purpose, _held().label("held"), how.scalar_subquery().label("how"))
        .join(GrantRow, GrantRow.id == VaultKey.grant_id)
        .where(in_state(VaultKey, KeyState.LIVE), GrantRow.ended_at.is_not(None), ~followed(), _of(which))
    )
    return [
        Due(row.subject, row.purpose, reason_of(EndKind(row.how or EndKind.WITHDRAWAL)), bool(row.held)) for row in rows
    ]


def _expired(vault: Vault, session: Session, at: datetime, which: ColumnElement[bool] | None = None) -> list[Due]:
    """Keys whose retention is over while their grant stands; all, or of ``which``."""
    today = utc(at).astimezone(BEIJING).date()
    live = select(VaultKey.purpose).where(in_state(VaultKey, KeyState.LIVE), _of(which))
    names = session.scalars(live.distinct()).all()
    found = []
    for purpose in (version for name in names for version in vault.versions(session, name)):
        kept = purpose.retention
        rows = session.execute(
            select(VaultKey.subject, func.max(RetentionEvent.on).label("on"), func.max(_held_number()).label("held"))
            .join(GrantRow, GrantRow.id == VaultKey.grant_id)
            .join(RetentionEvent, RetentionEvent.subject == VaultKey.subject)
            .where(VaultKey.purpose == purpose.name, in_state(VaultKey, KeyState.LIVE), _of(which))
            .where(GrantRow.purpose_version == purpose.number, GrantRow.ended_at.is_(None), _counts(kept.event))
            .group_by(VaultKey.subject)
            .having(func.max(RetentionEvent.on) <= _latest(kept, today))
        )
        found += [_expiry_of(purpose, row.subject, row.on, bool(row.held)) for row in rows]
    return found


def _expiry_of(purpose: Purpose, subject: str, on: date, held: bool) -> Due:
    kept = purpose.retention
    return Due(subject, purpose.name, "schedule", held, kept.event, on, kept.until(on))


def _counts(name: str) -> ColumnElement[bool]:
    """SQL: this event is the last of its subject, name and ref. Where it was called off, its day is none."""
    later = aliased(RetentionEvent)
    newer = exists().where(
        later.subject == RetentionEvent.subject,
        later.name == RetentionEvent.name,
        later.ref == RetentionEvent.ref,
        later.id > RetentionEvent.id,
    )
    return (RetentionEvent.name == name) & ~newer


def _latest(kept: Retention, today: date) -> date:
    """The latest day of an event of which nothing may be kept ``today`` any more."""
    on = today
    while kept.until(on) >= today:
        on -= timedelta(days=1)
    return on


def _of(which: ColumnElement[bool] | None) -> ColumnElement[bool]:
    return true() if which is None else which


def _held() -> ColumnElement[bool]:
    return held_sql(VaultKey.purpose, VaultKey.subject)


def _held_number() -> ColumnElement[int]:
    return case((_held(), 1), else_=0)


def _follow(session: Session) -> None:
    rows = session.execute(
        select(VaultKey.purpose, VaultKey.subject)
        .join(GrantRow, GrantRow.id == VaultKey.grant_id)
        .where(in_state(VaultKey, KeyState.LIVE), GrantRow.ended_at.is_not(None), followed())
    )
    superseded: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        superseded[row.purpose].append(row.subject)
    for purpose, subjects in superseded.items():
        follow(session, purpose, subjects)


def _erase(vault: Vault, purpose: str, reason: str, members: Sequence[Due], at: datetime) -> int:
    """End the grants that still stand and erase; one act. Those of a hold end too: they are kept, and not used.

    Under the lock it is looked again what is due: meanwhile a pass may have been renewed, or somebody have agreed anew.
    """
    which = (VaultKey.purpose == purpose) & VaultKey.subject.in_([each.subject for each in members])
    with vault.database.session() as session:
        alone(session, f"purpose:{purpose}")
        expired = [each.subject for each in _expired(vault, session, at, which)] if reason == "schedule" else []
        subjects = sorted({*expired, *(each.subject for each in _ended(session, which) if each.reason == reason)})
        if not subjects:
            return 0
        grants.end_all(session, purpose, END[reason], reason=_why(members[0]), at=at, subjects=expired)
        act, held = erasure.begin(vault, session, purpose, subjects, reason, at=at, note=_why(members[0]))
    if act is not None:
        erasure.complete(vault, act)
    return len(subjects) - held


def _why(each: Due) -> str:
    return f"retention: {each.event}" if each.reason == "schedule" else "its grant had ended"
