"""Notices of error: a company says that a fact about it is wrong.

Open the notice, and the fact is disputed at once, wherever it is shown; it is looked up anew; then somebody decides: it
is upheld, and every alert of it is taken back, or it is refused with a reason. Either stays in the company's history.
What waited meanwhile is refused or goes on (``objected.py``).

The rule of this module: an objection costs the objector nothing but saying so. The fact is marked before anyone has
judged whether the objection is right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, true
from sqlalchemy.orm import Session

from duecare.clock import BEIJING, parse_day
from duecare.errors import BadInput, UnknownName, UseError
from duecare.evidence.outbox import record
from duecare.radar.contradictions import Claim
from duecare.radar.corrections import Correction, correct
from duecare.radar.deciders import must_be_named
from duecare.radar.models import Alert, AlertState, NoticeOfError, Screening, Verification
from duecare.radar.newest_list import NOTHING_TO_COMPARE, look_in_lists
from duecare.radar.objected import found_later, let_go_on, let_wait, objected, refuse, undecided
from duecare.radar.verify import Fetching, Look, Lookup, attempts, keep, wait
from duecare.registers.adapter import PageAdapter
from duecare.registers.catalogue import adapter_for
from duecare.registers.company import company
from duecare.registers.models import Dispute
from duecare.store.home import Home

OUTCOMES = ("upheld", "refused")


@dataclass(frozen=True)
class Decision:
    """What was decided of a notice, and the alerts that were taken back for it. Of the changes that waited because of
    it, ``refused`` are never told, and ``going_on`` are decided anew by the next walk."""

    notice: int
    outcome: str
    corrections: tuple[Correction, ...]
    refused: int = 0
    going_on: int = 0

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**self.__dict__, "corrections": [each.as_json() for each in self.corrections]}


@dataclass(frozen=True)
class Wrong:
    """What of the facts of a notice was wrong, as its operator says: these ``alerts`` and these facts by their
    ``keys``. Nothing named: all that it is about."""

    alerts: Collection[int] = ()
    keys: Collection[str] = ()


def open_notice(
    home: Home,
    entity: str,
    section: str,
    statement: str,
    *,
    claimant: str = "",
    key: str = "",
    source: str | None = None,
) -> int:
    """File a notice of error against the facts of ``entity`` in ``section`` (``key``: only this one); returns its id.

    The facts are disputed when this returns. Raises ``UnknownName`` for a company, section or key that we do not show,
    ``BadInput`` without a statement, ``UseError`` where a notice against the same is open.
    """
    if not statement.strip():
        raise BadInput("statement is empty.", hint="Say what is wrong with what is shown.")
    source = _source_of(home, entity, section, key, source)
    now = home.clock.now()
    with home.writing("radar"), home.database.session() as session:
        notice = NoticeOfError(
            entity=entity, source=source, section=section, key=key, claimant=claimant, statement=statement,
            opened_at=now, state="open", outcome="", decided_by="", reason="",
        )  # fmt: skip
        _refuse_second(session, notice)
        session.add(notice)
        session.flush()
        _dispute(session, notice)
        # Who objects and what they say is personal and stays out of the log.
        body = {"notice": notice.id, "entity": entity, "source": source, "section": section}
        record(session, "notice:open", notice.mark, body, now)
        return notice.id


def _refuse_second(session: Session, notice: NoticeOfError) -> None:
    """One notice against the same at a time. Raises ``UseError``."""
    already = session.execute(
        select(NoticeOfError.id).where(
            NoticeOfError.entity == notice.entity,
            NoticeOfError.source == notice.source,
            NoticeOfError.section == notice.section,
            NoticeOfError.key == notice.key,
            NoticeOfError.state == "open",
        )
    ).scalar()
    if already is not None:
        raise UseError(
            f"Notice {already} against the same is open.", hint="`duecare correct --list` shows where it stands."
        )


def _dispute(session: Session, notice: NoticeOfError) -> None:
    """Mark the facts, and let wait what was about to be told of them: the rules refuse a disputed fact."""
    session.add(
        Dispute(
            source=notice.source,
            entity=notice.entity,
            section=notice.section,
            key=notice.key,
            opened_at=notice.opened_at,
            outcome="open",
            note=notice.mark,
        )
    )
    let_wait(session, notice)


def look_up(home: Home, fetching: Fetching | None = None, *, sites: Mapping[str, str] | None = None) -> int:
    """Look up anew what the open notices are about, where that is due; returns how many. The look decides nothing: it
    is laid before the one who does."""
    now, done = home.clock.now(), 0
    with home.database.session() as session:
        notices = _looked_up(session, NoticeOfError.state == "open")
    with Lookup(home, fetching, sites) as lookup:
        for notice, before in notices:
            if before is not None and (before.next_at is None or before.next_at > now):
                continue
            claims = _claims(home, notice)
            adapter = _adapter(home, notice.source)
            if isinstance(adapter, PageAdapter):
                look = _gravest(lookup.page(adapter, notice.entity, claims))
            else:
                look = _gravest(look_in_lists(home, notice, claims))
                if before is not None and _same(before, look):
                    continue  # nothing was read meanwhile: it is as it was
            _keep_look(home, notice, look)
            done += 1
    return done


def tasks(home: Home) -> list[dict[str, Any]]:
    """The open notices that wait for a person, oldest first, as ``listed`` gives them."""
    return [each for each in reversed(listed(home, open_only=True)) if each["who_acts"] == "operator"]


def decide(
    home: Home,
    notice_id: int,
    outcome: str,
    *,
    by: str,
    reason: str,
    reason_en: str = "",
    alerts: Collection[int] = (),
    keys: Collection[str] = (),
) -> Decision:
    """Uphold a notice (the alerts of the fact are taken back from those who got them) or refuse it with a reason.

    ``alerts``: those of them that were wrong; all, if none is named. What was told of a fact earlier may have been
    right. ``keys``: of several facts those that were wrong. Of what was not told yet, the named facts are refused; of
    facts that nobody named, those of the alerts, as far as they were known when the notice was opened. The rest goes
    on. ``reason`` is told to the recipients and stays in the company's history. Raises ``UnknownName``, ``BadInput``,
    ``UseError`` where it was decided already.
    """
    if outcome not in OUTCOMES:
        raise BadInput(f"{outcome!r} is not an outcome.", hint=f"Give {' or '.join(OUTCOMES)}.")
    if alerts and outcome != "upheld":
        raise BadInput("A refused notice takes back no alert.", hint="Name alerts only where it is upheld.")
    if keys and outcome != "upheld":
        raise BadInput("A refused notice finds no fact wrong.", hint="Name facts only where it is upheld.")
    must_be_named(by, reason)
    _must_be_its_facts(home, notice_id, keys)
    now = home.clock.now()
    with home.writing("radar"), home.database.session() as session:
        notice = _find(session, notice_id)
        if notice.state != "open":
            raise UseError(f"Notice {notice.id} was {notice.state} by {notice.decided_by}: {notice.reason}")
        corrections, refused = tuple[Correction, ...](), 0
        if outcome == "upheld":
            corrections, refused = _uphold(home, session, notice, by, reason, reason_en, Wrong(alerts, keys))
        _close_dispute(session, notice, outcome, reason, now, keys)
        by_lists = not isinstance(_adapter(home, notice.source), PageAdapter)
        going_on = let_go_on(session, notice, at=now, by_lists=by_lists)
        notice.state, notice.outcome, notice.decided_at = outcome, outcome, now
        notice.decided_by, notice.reason = by, reason
        sent = [each.correction for each in corrections if each.correction is not None]
        notice.correction_alert_id = sent[-1] if sent else None
        # A fact's key may be the name of a person: which were wrong stays out of the log.
        body = {
            "notice": notice.id,
            "outcome": outcome,
            "by": by,
            "reason": reason,
            "alerts": [each.alert for each in corrections],
            "refused": refused,
            "going_on": going_on,
        }
        record(session, "notice:decide", notice.mark, body, now)
        return Decision(notice.id, outcome, corrections, refused, going_on)


def listed(home: Home, *, open_only: bool = False) -> list[dict[str, Any]]:
    """The notices, newest first, each with what the last look at the source found, the alerts of its facts that stand,
    and how many changes wait because of it: ``pending``, those ``pending_later`` found after it was opened."""
    where = NoticeOfError.state == "open" if open_only else true()
    with home.database.session() as session:
        found = _looked_up(session, where)
        standing, waiting = defaultdict[int, list[int]](list), defaultdict[int, list[tuple[str, bool, int]]](list)
        of_open = and_(NoticeOfError.state == "open", Alert.id.is_(None), undecided())
        rows = session.execute(
            select(NoticeOfError.id, Alert.id, Screening.key, found_later().label("later"), func.count())
            .join(Screening, objected())
            .outerjoin(Alert, Alert.id == Screening.id)
            .where(where, or_(Alert.state == AlertState.SENT.value, of_open))
            .group_by(NoticeOfError.id, Alert.id, Screening.key, "later")
            .order_by(Alert.id, Screening.key)
        )
        for notice, alert, key, later, number in rows:
            if alert is None:
                waiting[notice].append((key, later, number))
            else:
                standing[notice].append(alert)
    return [_as_json(notice, look, standing[notice.id], waiting[notice.id]) for notice, look in found]


def _find(session: Session, notice_id: int) -> NoticeOfError:
    notice = session.get(NoticeOfError, notice_id)
    if notice is None:
        known = session.execute(select(NoticeOfError.id).order_by(NoticeOfError.id.desc()).limit(12)).scalars()
        raise UnknownName("notice of error", str(notice_id), [str(each) for each in known])
    return notice


def _must_be_its_facts(home: Home, notice_id: int, keys: Collection[str]) -> None:
    """Raises ``UnknownName`` for the first of ``keys`` that is not of a fact that the notice is about."""
    if not keys:
        return
    with home.database.session() as session:
        notice = _find(session, notice_id)
        of_changes = select(Screening.key).join(NoticeOfError, objected()).where(NoticeOfError.id == notice_id)
        known = set(session.scalars(of_changes.distinct()))
    said = [each for each in company(home, notice.entity)["sources"] if each["source"] == notice.source]
    known |= {key for each in said for key in _keys(each["sections"].get(notice.section))}
    if notice.key:
        known = {notice.key}
    for key in keys:
        if key not in known:
            hint = "It is about the one fact of its section: leave the key out."
            raise UnknownName(f"fact of notice {notice_id}", key, sorted(filter(None, known)), hint=hint)


def _uphold(
    home: Home, session: Session, notice: NoticeOfError, by: str, reason: str, reason_en: str, wrong: Wrong
) -> tuple[tuple[Correction, ...], int]:
    """Take back the alerts that were wrong and refuse what waits of the same; returns the corrections and how many
    changes were refused."""
    standing = [alert for alert in _standing(session, notice) if not wrong.keys or alert.key in wrong.keys]
    for number in wrong.alerts:
        if number not in {alert.id for alert in standing}:
            known = [str(alert.id) for alert in standing]
            raise UnknownName(f"alert to take back for notice {notice.id}", str(number), known)
    chosen = [alert for alert in standing if not wrong.alerts or alert.id in wrong.alerts]
    keys = wrong.keys or ({alert.key for alert in chosen} if wrong.alerts else ())
    named = bool(wrong.keys or notice.key)
    refused = refuse(session, notice, by=by, reason=reason, at=home.clock.now(), named=named, keys=keys)
    return tuple(correct(home, session, alert, reason, by, reason_en=reason_en) for alert in chosen), refused


def _standing(session: Session, notice: NoticeOfError) -> Sequence[Alert]:
    """The alerts of the facts that were not taken back, oldest first, held until the transaction ends."""
    asked = (
        select(Alert)
        .join(Screening, Screening.id == Alert.id)
        .join(NoticeOfError, objected())
        .where(NoticeOfError.id == notice.id, Alert.state == AlertState.SENT.value)
    )
    return session.scalars(asked.order_by(Alert.id).with_for_update(of=Alert)).all()


def _close_dispute(
    session: Session, notice: NoticeOfError, outcome: str, reason: str, at: datetime, keys: Collection[str]
) -> None:
    """Close what ``notice`` opened, and keep what came of it for the company's page: of each of the facts ``keys`` that
    were wrong, where some were named."""
    dispute = session.execute(select(Dispute).where(Dispute.note == notice.mark)).scalar_one()
    dispute.closed_at, dispute.outcome, dispute.note = at, outcome, reason
    first, *more = keys or [dispute.key]
    dispute.key = first
    kept = ("source", "entity", "section", "opened_at", "closed_at", "outcome", "note")
    session.add_all(Dispute(**{name: getattr(dispute, name) for name in kept}, key=key) for key in more)


def _source_of(home: Home, entity: str, section: str, key: str, source: str | None) -> str:
    """The source that says it. Where several do and none is named, the one that is authoritative for the section."""
    known = company(home, entity)
    by_source = {each["source"]: each["sections"] for each in known["sources"]}
    if source is not None and source not in by_source:
        raise UnknownName("source", source, sorted(by_source))
    chosen = [source] if source is not None else list(by_source)
    sections = {name for each in chosen for name in by_source[each]}
    if section not in sections:
        near = get_close_matches(section, sections, cutoff=0.6)
        shown = {name for each in chosen for name, said in by_source[each].items() if _keys(said)}
        raise UnknownName("section", section, near or sorted(shown))
    keys = {each: _keys(by_source[each].get(section)) for each in chosen}
    saying = [each for each, said in keys.items() if (key in said if key else said)]
    if not saying:
        every = sorted({name for said in keys.values() for name in said if name})
        if key:
            raise UnknownName(f"fact of {entity} in {section}", key, every)
        raise UseError(f"Nothing is shown of {entity} in {section}.", hint="There is nothing to correct.")
    if len(saying) > 1:
        first = [each for each in saying if section in adapter_for(home, each).source.authoritative_for]
        if len(first) != 1:
            raise BadInput(
                f"{', '.join(saying)} all say something of {entity} in {section}.", hint="Name one with --source."
            )
        return first[0]
    return saying[0]


def _keys(shown: Mapping[str, Any] | None) -> set[str]:
    """The keys of the facts that are, or were, shown."""
    return {fact["key"] for fact in (*shown["facts"], *shown["former"])} if shown else set()


def _claims(home: Home, notice: NoticeOfError) -> list[Claim]:
    """What we show now of what the notice is about, or that we show nothing."""
    said = [each for each in company(home, notice.entity)["sources"] if each["source"] == notice.source]
    facts = [
        fact for each in said for fact in each["sections"][notice.section]["facts"] if notice.key in ("", fact["key"])
    ]
    if not facts:
        return [Claim(notice.section, notice.key, None, None)]
    return [
        Claim(
            notice.section,
            fact["key"],
            fact["value"],
            parse_day(fact["effective_on"]) if fact["effective_on"] else None,
        )
        for fact in facts
    ]


def _adapter(home: Home, source: str) -> object | None:
    """The adapter of the source; none where it is not installed any more."""
    try:
        return adapter_for(home, source)
    except UnknownName:
        return None


def _same(before: Verification, look: Look) -> bool:
    """Whether the look found what the one before it had found."""
    found = [point.id for point in look.finding.against]
    return (before.outcome, before.snapshot) == (look.finding.outcome, look.snapshot) and found == [
        point["id"] for point in before.contradictions
    ]


def _keep_look(home: Home, notice: NoticeOfError, look: Look) -> None:
    now = home.clock.now()
    with home.database.session() as session:
        attempt = attempts(session, notice.mark) + 1
        again = now + wait(attempt, look.retry_after) if look.finding.outcome == "unavailable" else None
        keep(session, notice.mark, attempt, now, look, again)
        body = {"notice": notice.id, "outcome": look.finding.outcome, "snapshot": look.snapshot}
        record(session, "change:verify", notice.mark, body, now)


def _gravest(looks: list[Look]) -> Look:
    """The look that weighs most: one contradiction is enough, and one thing that could not be seen is not verified."""
    order = ("contradicted", "unavailable", "verified")
    return min(looks, key=lambda look: order.index(look.finding.outcome))


def _looked_up(session: Session, where: ColumnElement[bool]) -> list[tuple[NoticeOfError, Verification | None]]:
    """The notices, newest first, each with the last look at the source."""
    mark = NoticeOfError.mark_sql()
    newest = select(func.max(Verification.attempt)).where(Verification.change_id == mark).correlate(NoticeOfError)
    last = and_(Verification.change_id == mark, Verification.attempt == newest.scalar_subquery())
    asked = select(NoticeOfError, Verification).outerjoin(Verification, last).where(where)
    return [(notice, look) for notice, look in session.execute(asked.order_by(NoticeOfError.id.desc()))]


def _as_json(
    notice: NoticeOfError, look: Verification | None, standing: list[int], waiting: Sequence[tuple[str, bool, int]]
) -> dict[str, Any]:
    """``waiting``: key, whether found after the notice was opened, and how many changes."""
    keys = sorted({key for key, _, _ in waiting})
    return {
        "id": notice.id,
        "entity": notice.entity,
        "source": notice.source,
        "section": notice.section,
        "key": notice.key,
        "claimant": notice.claimant,
        "statement": notice.statement,
        "opened_at": notice.opened_at.isoformat(),
        "state": notice.state,
        "decided_by": notice.decided_by,
        "reason": notice.reason,
        "correction": notice.correction_alert_id,
        "verification": look.outcome if look else "none",
        "contradictions": look.contradictions if look else [],
        "found": look.note if look else "",
        "looked_at": look.at.isoformat() if look else None,
        "looked_again_at": look.next_at.isoformat() if look and look.next_at else None,
        "alerts": standing,
        "pending": sum(number for _, _, number in waiting),
        "pending_keys": keys,
        "pending_later": sum(number for _, later, number in waiting if later),
        **_who_acts(notice, look, len(standing), len(keys)),
    }


def _who_acts(notice: NoticeOfError, look: Verification | None, standing: int, facts: int) -> dict[str, str]:
    """``who_acts``: nobody any more, the system (its next look), or an operator; and what is to be done, in words."""
    if notice.state != "open":
        return {"who_acts": "nobody", "next_zh": "已办结。", "next_en": "It is decided."}
    if look is None:
        return {
            "who_acts": "system",
            "next_zh": "等待核查：下一次 duecare screen 重新查看来源。",
            "next_en": "It waits for a look: the next `duecare screen` looks at the source anew.",
        }
    if any(point["id"] == NOTHING_TO_COMPARE for point in look.contradictions):
        point = next(point for point in look.contradictions if point["id"] == NOTHING_TO_COMPARE)
        return {"who_acts": "operator", "next_zh": point["zh"], "next_en": point["en"]}
    if look.next_at is not None:
        return {
            "who_acts": "system",
            "next_zh": f"来源暂时不可用：{look.next_at.astimezone(BEIJING):%Y-%m-%d %H:%M}（北京时间）之后再次查看。",
            "next_en": f"The source was unavailable: it is looked at again after {look.next_at:%Y-%m-%d %H:%M} UTC.",
        }
    zh = f"已核查：请值班员作出决定（duecare correct --decide {notice.id}）。"
    en = f"It was looked up: an operator decides (duecare correct --decide {notice.id})."
    if standing > 1:
        zh += f"就该事实已推送 {standing} 条动态，只更正其中有误的，用 --alert 指明。"
        en += f" {standing} alerts told of the fact: name those that were wrong with --alert, where not all were."
    if facts > 1:
        zh += f"另有 {facts} 项事实的变更因此暂缓，只认定其中有误的，用 --key 指明。"
        en += f" Changes of {facts} facts wait because of it: name those that are wrong with --key, where not all are."
    return {"who_acts": "operator", "next_zh": zh, "next_en": en}
