"""Holds: what was out of line with its own history, shown to an operator, who lets it go on or puts it aside.

A release does not skip verification: what is sensitive goes on to the authoritative source. Batches that the registers
held because they covered too little stand in the same list.

The rule of this module: nothing leaves a hold without a name and a reason, and both are kept as evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.orm import Session

from duecare.errors import BadInput, UnknownName, UseError
from duecare.evidence.outbox import record
from duecare.radar.alerts import await_alerts
from duecare.radar.deciders import must_be_named
from duecare.radar.disputes import disputed
from duecare.radar.judgement import Judge, Situation, Verdict
from duecare.radar.models import Hold, Screening, ScreeningSummary
from duecare.registers.changes import batch_changes
from duecare.registers.models import Batch
from duecare.rules.engine import Engine
from duecare.store.database import parts
from duecare.store.home import Home

SAMPLES = 20

_ID = 32


@dataclass(frozen=True)
class Selection:
    """A part of a hold: these entities, these changes (by id or its beginning), those the register dates (or does
    not). Empty: all."""

    entities: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    dated: bool | None = None

    @property
    def everything(self) -> bool:
        """Whether this is the whole hold."""
        return not self.entities and not self.changes and self.dated is None


@dataclass(frozen=True)
class Decided:
    """What an operator's word did: how many changes went to which state, and how many are still held."""

    hold: int
    state: str
    changes: dict[str, int]
    left: int

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return dict(self.__dict__)


def waiting(home: Home) -> list[dict[str, Any]]:
    """Every hold that waits for a decision, oldest first, and every batch that covered too little."""
    with home.database.session() as session:
        left = dict(
            session.execute(
                select(Screening.hold_id, func.count())
                .where(Screening.state == "held", Screening.hold_id.is_not(None))
                .group_by(Screening.hold_id)
            ).all()
        )
        holds = session.execute(select(Hold).where(Hold.state.in_(("held", "partly"))).order_by(Hold.id)).scalars()
        found = [_summary(hold, left.get(hold.id, 0)) for hold in holds if hold.state == "held" or left.get(hold.id, 0)]
        batches = session.execute(select(Batch).where(Batch.state == "held").order_by(Batch.seq)).scalars()
        return found + [
            {
                "what": "batch",
                "id": batch.id,
                "batch": batch.id,
                "source": batch.source,
                "file": batch.filename,
                "opened_at": batch.recorded_at.isoformat(),
                "why": batch.reason,
            }
            for batch in batches
        ]


def show(home: Home, hold_id: int) -> dict[str, Any]:
    """One hold with its history, the rules that hold it, what became of its changes so far, and twenty samples.

    Raises ``UnknownName``.
    """
    with home.database.session() as session:
        hold = _find(session, hold_id)
        states = dict(
            session.execute(
                select(Screening.state, func.count()).where(Screening.hold_id == hold.id).group_by(Screening.state)
            ).all()
        )
        shown = {
            **_summary(hold, states.get("held", 0)),
            "states": states,
            "reasons": _reasons(session, hold),
            "history": [{"changes": changes, "read": exposure} for changes, exposure in hold.history],
        }
    return {**shown, "samples": samples(home, hold)}


def samples(home: Home, hold: Hold, number: int = SAMPLES) -> list[dict[str, Any]]:
    """``number`` changes of the hold, drawn from all over it and the same each time."""
    cursor = home.lake.connection.cursor().execute(
        f"""SELECT id, entity, key, moved, before, after, effective_on, not_before, not_after, snapshot
            FROM {batch_changes(home, hold.batch_id)} WHERE section = ? AND kind = ? ORDER BY id LIMIT ?""",
        [hold.section, hold.kind, number],
    )
    columns = [column[0] for column in cursor.description or []]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def release(
    home: Home, engine: Engine, hold_id: int, *, by: str, reason: str, part: Selection = Selection()
) -> Decided:
    """Let ``part`` of a hold go on: to verification where it is sensitive, else to its watchers.

    The rules are asked again; what they never allow (a first observation) stays untold. Raises ``UnknownName``,
    ``BadInput`` without a name or reason or where ``part`` holds nothing, ``UseError`` where all is decided.
    """
    return decide(home, engine, [hold_id], "released", by=by, reason=reason, part=part)[0]


def reject(home: Home, engine: Engine, hold_id: int, *, by: str, reason: str, part: Selection = Selection()) -> Decided:
    """Put ``part`` of a hold aside for good: nobody is told of it. Raises as ``release`` does."""
    return decide(home, engine, [hold_id], "rejected", by=by, reason=reason, part=part)[0]


def decide(
    home: Home,
    engine: Engine,
    hold_ids: Sequence[int],
    verb: str,
    *,
    by: str,
    reason: str,
    part: Selection = Selection(),
) -> list[Decided]:
    """Decide ``part`` of several holds at once, ``verb`` being ``released`` or ``rejected``: of those that have such a
    part, all or none. Raises as ``release`` does; ``BadInput`` only where none has.
    """
    must_be_named(by, reason)
    judge = Judge(engine)
    with home.writing("radar"), home.database.session() as session:
        holds = [_find(session, hold_id) for hold_id in hold_ids]
        part = replace(part, changes=tuple(_change(session, hold_ids, given) for given in part.changes))
        found = [_decide(home, session, judge, hold, verb, by, reason, part) for hold in holds]
        done = [each for each in found if each is not None]
        if not done:
            numbers = ", ".join(str(hold.id) for hold in holds)
            raise BadInput(
                f"Nothing that is held in hold {numbers} is of the part that was given.",
                hint=f"`duecare screen show {holds[0].id}` shows samples.",
            )
        return done


def is_hold(home: Home, number: int) -> bool:
    """Whether there is, or was, a hold of this number."""
    with home.database.session() as session:
        return session.get(Hold, number) is not None


def of_batch(home: Home, batch: str) -> list[int]:
    """The undecided holds of the batch whose name starts with ``batch``."""
    return [item["id"] for item in waiting(home) if item["what"] == "hold" and str(item["batch"]).startswith(batch)]


def _decide(
    home: Home, session: Session, judge: Judge, hold: Hold, verb: str, by: str, reason: str, part: Selection
) -> Decided | None:
    """Decide ``part`` of one hold; none where the hold has no such part."""
    rows = session.execute(select(func.count()).where(Screening.hold_id == hold.id)).scalar_one()
    if hold.state != "held" and not _left(session, hold):
        raise UseError(
            f"Hold {hold.id} was {hold.state} by {hold.decided_by}: {hold.reason}",
            hint="`duecare screen list` shows what still waits.",
        )
    changes = Counter[str]()
    for chosen in _chunks(part):
        for situation, where in _situations(session, hold, chosen):
            changes.update(_apply(home, session, judge, situation, where, verb, by, reason))
    if not changes and (rows or not part.everything):
        return None
    if changes["passed"]:
        await_alerts(session, hold.batch_id)
    left = _left(session, hold)
    verbs = set(session.execute(select(Screening.baseline).where(Screening.hold_id == hold.id).distinct()).scalars())
    hold.state = verb if verbs <= {verb} else "partly"
    hold.decided_at, hold.decided_by, hold.reason = home.clock.now(), by, reason
    body = {
        "hold": hold.id,
        "batch": hold.batch_id,
        "section": hold.section,
        "kind": hold.kind,
        "by": by,
        "reason": reason,
        "changes": dict(changes),
        "left": left,
    }
    kind = "batch:release" if verb == "released" else "batch:reject"
    record(session, kind, f"hold:{hold.id}", body, home.clock.now())
    return Decided(hold.id, hold.state, dict(changes), left)


def _change(session: Session, hold_ids: Sequence[int], given: str) -> str:
    """The id of the change in these holds that is or starts with ``given``. Raises ``BadInput`` where several do."""
    if len(given) >= _ID:
        return given
    begins = Screening.change_id.startswith(given.lower(), autoescape=True)
    found = session.scalars(
        select(Screening.change_id)
        .where(Screening.hold_id.in_(hold_ids), begins)
        .order_by(Screening.change_id)
        .limit(2)
    ).all()
    if len(found) > 1:
        raise BadInput(f"Several changes start with {given!r}.", hint=f"Write more of it, such as {found[0]}.")
    return found[0] if found else given


def _chunks(part: Selection) -> Iterator[list[ColumnElement[bool]]]:
    """Conditions that choose ``part``, such that no statement carries more values than a database takes."""
    fixed: list[ColumnElement[bool]] = []
    if part.dated is not None:
        fixed.append(Screening.effective_on.is_not(None) if part.dated else Screening.effective_on.is_(None))
    if not part.entities and not part.changes:
        yield fixed
    yield from ([*fixed, Screening.entity.in_(some)] for some in parts(part.entities))
    yield from ([*fixed, Screening.change_id.in_(some)] for some in parts(part.changes))


def _situations(
    session: Session, hold: Hold, chosen: Sequence[ColumnElement[bool]]
) -> list[tuple[Situation, ColumnElement[bool]]]:
    """The distinct situations among the held rows that are ``chosen``, each with the condition of its rows."""
    held = and_(Screening.hold_id == hold.id, Screening.state == "held", *chosen)
    dated, objected = Screening.effective_on.is_not(None), disputed()
    columns = (Screening.moved, Screening.sensitive, Screening.late)
    rows = session.execute(
        select(*columns, dated.label("dated"), objected.label("disputed")).where(held).distinct()
    ).all()
    return [
        (
            Situation(hold.kind, row.moved, row.sensitive, row.late, bool(row.dated), bool(row.disputed)),
            and_(
                held,
                Screening.moved == row.moved,
                Screening.sensitive.is_(row.sensitive),
                Screening.late.is_(row.late),
                dated if row.dated else ~dated,
                objected if row.disputed else ~objected,
            ),
        )
        for row in rows
    ]


def _apply(
    home: Home,
    session: Session,
    judge: Judge,
    situation: Situation,
    where: ColumnElement[bool],
    verb: str,
    by: str,
    reason: str,
) -> dict[str, int]:
    situation = replace(situation, baseline=verb)
    verdict = judge.verdict(situation)
    if verb == "rejected":
        verdict = Verdict("refused", judge.reasons(situation))
    done = session.execute(
        update(Screening)
        .where(where)
        .values(
            state=verdict.state,
            baseline=verb,
            reasons=verdict.reasons,
            decided_at=home.clock.now(),
            decided_by=by,
            note=reason,
        )
        .execution_options(synchronize_session=False)
    )
    return {verdict.state: int(getattr(done, "rowcount", 0))}


def _left(session: Session, hold: Hold) -> int:
    return session.execute(
        select(func.count()).where(Screening.hold_id == hold.id, Screening.state == "held")
    ).scalar_one()


def _find(session: Session, hold_id: int) -> Hold:
    hold = session.get(Hold, hold_id)
    if hold is None:
        known = session.execute(select(Hold.id).order_by(Hold.id.desc()).limit(12)).scalars()
        raise UnknownName("hold", str(hold_id), [str(each) for each in known])
    return hold


def _reasons(session: Session, hold: Hold) -> list[dict[str, Any]]:
    """The rules that kept the changes of the hold from being told when they were screened."""
    rows = session.execute(
        select(ScreeningSummary.reasons).where(
            ScreeningSummary.batch_id == hold.batch_id,
            ScreeningSummary.section == hold.section,
            ScreeningSummary.kind == hold.kind,
        )
    ).scalars()
    return list({reason["id"]: reason for reasons in rows for reason in reasons}.values())


def _summary(hold: Hold, left: int) -> dict[str, Any]:
    return {
        "what": "hold",
        "id": hold.id,
        "batch": hold.batch_id,
        "source": hold.source,
        "section": hold.section,
        "kind": hold.kind,
        "observed": hold.observed,
        "expected": hold.expected,
        "low": hold.low,
        "high": hold.high,
        "tail": hold.tail,
        "state": hold.state,
        "left": left,
        "opened_at": hold.opened_at.isoformat(),
        "decided_by": hold.decided_by,
        "reason": hold.reason,
    }
