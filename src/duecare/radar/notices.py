"""Notices of error: a company says that a fact about it is wrong.

Open the notice, and the fact is disputed at once, wherever it is shown; it is looked up anew; then somebody decides: it
is upheld, and every alert of it is taken back, or it is refused with a reason. Either stays in the company's history.

The rule of this module: an objection costs the objector nothing but saying so. The fact is marked before anyone has
judged whether the objection is right.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from sqlalchemy import ColumnElement, and_, select, true, update
from sqlalchemy.orm import Session

from duecare.clock import BEIJING, parse_day
from duecare.errors import BadInput, UnknownName, UseError
from duecare.evidence.outbox import record
from duecare.radar.alerts import not_raised
from duecare.radar.contradictions import Claim
from duecare.radar.corrections import Correction, correct
from duecare.radar.deciders import must_be_named
from duecare.radar.models import Alert, AlertState, NoticeOfError, Screening, Verification
from duecare.radar.newest_list import NOTHING_TO_COMPARE, look_in_lists
from duecare.radar.verify import Fetching, Look, Lookup, attempts, keep, wait
from duecare.registers.adapter import PageAdapter
from duecare.registers.catalogue import adapter_for
from duecare.registers.company import company
from duecare.registers.models import Dispute
from duecare.store.home import Home

OUTCOMES = ("upheld", "refused")


@dataclass(frozen=True)
class Decision:
    """What was decided of a notice, and the alerts that were taken back for it."""

    notice: int
    outcome: str
    corrections: tuple[Correction, ...]

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "notice": self.notice,
            "outcome": self.outcome,
            "corrections": [each.as_json() for each in self.corrections],
        }


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
        record(session, "notice:open", _mark(notice.id), body, now)
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
            note=_mark(notice.id),
        )
    )
    session.execute(
        update(Screening)
        .where(_about(notice), Screening.state == "passed", not_raised())
        .values(state="verifying", decided_at=notice.opened_at, decided_by=_mark(notice.id))
        .execution_options(synchronize_session=False)
    )


def look_up(home: Home, fetching: Fetching | None = None, *, sites: Mapping[str, str] | None = None) -> int:
    """Look up anew what the open notices are about, where that is due; returns how many. The look decides nothing: it
    is laid before the one who does."""
    now, done = home.clock.now(), 0
    with home.database.session() as session:
        notices = list(session.execute(select(NoticeOfError).where(NoticeOfError.state == "open")).scalars())
        last = {notice.id: _last_look(session, notice.id) for notice in notices}
    with Lookup(home, fetching, sites) as lookup:
        for notice in notices:
            before = last[notice.id]
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
) -> Decision:
    """Uphold a notice (the alerts of the fact are taken back from those who got them) or refuse it with a reason.

    ``alerts``: those of them that were wrong; all, if none is named. What was told of a fact earlier may have been
    right. ``reason`` is told to the recipients and stays in the company's history. Raises ``UnknownName``,
    ``BadInput``, ``UseError`` where it was decided already.
    """
    if outcome not in OUTCOMES:
        raise BadInput(f"{outcome!r} is not an outcome.", hint=f"Give {' or '.join(OUTCOMES)}.")
    if alerts and outcome != "upheld":
        raise BadInput("A refused notice takes back no alert.", hint="Name alerts only where it is upheld.")
    must_be_named(by, reason)
    now = home.clock.now()
    with home.writing("radar"), home.database.session() as session:
        notice = session.get(NoticeOfError, notice_id)
        if notice is None:
            known = session.execute(select(NoticeOfError.id).order_by(NoticeOfError.id.desc()).limit(12)).scalars()
            raise UnknownName("notice of error", str(notice_id), [str(each) for each in known])
        if notice.state != "open":
            raise UseError(f"Notice {notice.id} was {notice.state} by {notice.decided_by}: {notice.reason}")
        corrections = _uphold(home, session, notice, by, reason, reason_en, alerts) if outcome == "upheld" else ()
        for dispute in session.execute(select(Dispute).where(Dispute.note == _mark(notice.id))).scalars():
            dispute.closed_at, dispute.outcome, dispute.note = now, outcome, reason
        notice.state, notice.outcome, notice.decided_at = outcome, outcome, now
        notice.decided_by, notice.reason = by, reason
        sent = [each.correction for each in corrections if each.correction is not None]
        notice.correction_alert_id = sent[-1] if sent else None
        body = {
            "notice": notice.id,
            "outcome": outcome,
            "by": by,
            "reason": reason,
            "alerts": [each.alert for each in corrections],
        }
        record(session, "notice:decide", _mark(notice.id), body, now)
        return Decision(notice.id, outcome, corrections)


def listed(home: Home, *, open_only: bool = False) -> list[dict[str, Any]]:
    """The notices, newest first, each with what the last look at the source found."""
    with home.database.session() as session:
        where = NoticeOfError.state == "open" if open_only else true()
        rows = session.execute(select(NoticeOfError).where(where).order_by(NoticeOfError.id.desc())).scalars()
        return [
            _as_json(notice, _last_look(session, notice.id), [alert.id for alert in _standing(session, notice)])
            for notice in rows
        ]


def _standing(session: Session, notice: NoticeOfError, *, hold: bool = False) -> Sequence[Alert]:
    """The alerts of the fact that were not taken back, oldest first; with ``hold``, held until the transaction ends."""
    of_fact = Alert.id.in_(select(Screening.id).where(_about(notice)))
    asked = select(Alert).where(of_fact, Alert.state == AlertState.SENT.value).order_by(Alert.id)
    return session.scalars(asked.with_for_update() if hold else asked).all()


def _uphold(
    home: Home,
    session: Session,
    notice: NoticeOfError,
    by: str,
    reason: str,
    reason_en: str,
    wrong: Collection[int],
) -> tuple[Correction, ...]:
    session.execute(
        update(Screening)
        .where(_about(notice), Screening.state.in_(("held", "verifying", "passed")), not_raised())
        .values(state="refused", decided_at=home.clock.now(), decided_by=by, note=reason)
        .execution_options(synchronize_session=False)
    )
    alerts = _standing(session, notice, hold=True)
    for number in wrong:
        if number not in {alert.id for alert in alerts}:
            raise UnknownName(f"alert to take back for notice {notice.id}", str(number), [str(a.id) for a in alerts])
    return tuple(
        correct(home, session, alert, reason, by, reason_en=reason_en)
        for alert in alerts
        if not wrong or alert.id in wrong
    )


def _about(notice: NoticeOfError) -> ColumnElement[bool]:
    """SQL: the screening is of the fact that the notice is about; without a key, of any fact of the section."""
    return and_(
        Screening.entity == notice.entity,
        Screening.source == notice.source,
        Screening.section == notice.section,
        true() if not notice.key else Screening.key == notice.key,
    )


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
        attempt = attempts(session, _mark(notice.id)) + 1
        again = now + wait(attempt, look.retry_after) if look.finding.outcome == "unavailable" else None
        keep(session, _mark(notice.id), attempt, now, look, again)
        body = {"notice": notice.id, "outcome": look.finding.outcome, "snapshot": look.snapshot}
        record(session, "change:verify", _mark(notice.id), body, now)


def _gravest(looks: list[Look]) -> Look:
    """The look that weighs most: one contradiction is enough, and one thing that could not be seen is not verified."""
    order = ("contradicted", "unavailable", "verified")
    return min(looks, key=lambda look: order.index(look.finding.outcome))


def _last_look(session: Session, notice_id: int) -> Verification | None:
    return session.execute(
        select(Verification)
        .where(Verification.change_id == _mark(notice_id))
        .order_by(Verification.attempt.desc())
        .limit(1)
    ).scalar()


def _mark(notice_id: int) -> str:
    return f"notice:{notice_id}"


def _as_json(notice: NoticeOfError, look: Verification | None, standing: list[int]) -> dict[str, Any]:
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
        **_who_acts(notice, look, len(standing)),
    }


def _who_acts(notice: NoticeOfError, look: Verification | None, standing: int) -> dict[str, str]:
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
    return {"who_acts": "operator", "next_zh": zh, "next_en": en}
