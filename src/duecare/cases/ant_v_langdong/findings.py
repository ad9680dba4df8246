"""What the two homes of the replay show, weighed against each line of what must hold.

The rule of this module: a check is a comparison of what was observed with the judgment's figures, never a constant.
"""

from __future__ import annotations

import email
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from email.message import EmailMessage
from email.policy import default
from typing import Any

from duecare.cases.ant_v_langdong.world import JudgmentRegister
from duecare.cases.court import Check
from duecare.radar.models import Alert


@dataclass(frozen=True)
class Findings:
    """What stands in a home after its run. ``told`` and ``heard``: (member, channel) of a wrong alert and of its
    correction; ``unchecked``: alerts raised while the official site was down."""

    register: JudgmentRegister
    alerts: Sequence[Alert]
    unchecked: int = 0
    holds: Sequence[dict[str, Any]] = ()
    changes: Sequence[dict[str, Any]] = ()
    first_observations: int = 0
    page: dict[str, Any] = field(default_factory=dict)
    sources: Sequence[dict[str, Any]] = ()
    sources_later: Sequence[dict[str, Any]] = ()
    mails: Sequence[bytes] = ()
    notice: int = 0
    told: frozenset[tuple[int, str]] | set[tuple[int, str]] = frozenset()
    heard: frozenset[tuple[int, str]] | set[tuple[int, str]] = frozenset()

    def alerts_of(self, *codes: str) -> list[Alert]:
        """The alerts about companies."""
        return [alert for alert in self.alerts if alert.entity in codes]

    def false_alerts(self) -> list[Alert]:
        """Alerts about the undated liquidation members of companies that trade."""
        return [
            alert
            for alert in self.alerts
            if alert.section == "liquidation" and alert.entity != self.register.genuine and alert.corrects_id is None
        ]

    def letters(self, code: str) -> list[EmailMessage]:
        """The mails in which a company's code or name occurs."""
        read = [email.message_from_bytes(raw, policy=default) for raw in self.mails]
        name = self.register.state(code, date(2019, 5, 12))["basic"][0]["name"] or code
        return [letter for letter in read if code in _text(letter) or name in _text(letter)]


def weigh(said: dict[str, Any], ours: Findings, theirs: Findings) -> tuple[Check, ...]:
    """The checks, in the order of the requirements."""
    return (
        _first_observation(said, ours),
        _held(said, ours),
        _verified(ours),
        _carried(said, ours),
        _objection(ours),
        _sources(ours),
        _wave(said, ours),
        _counter_proof(said, theirs),
        _retracted(theirs),
    )


def _first_observation(said: dict[str, Any], ours: Findings) -> Check:
    facts = _liquidation(ours.page)
    oldest = _day(said["snapshots"]["oldest"]).isoformat()
    told = [change for change in ours.changes if change["section"] == "liquidation"]
    holds = (
        len(facts) == len(said["company"]["members"])
        and all(fact["effective_on"] is None and fact["first_observed"][:10] == oldest for fact in facts)
        and {change["kind"] for change in told} == {"first_observation"}
        and not ours.alerts_of(ours.register.subject)
    )
    seen = sorted({fact["first_observed"][:10] for fact in facts})
    return Check(
        "first_observation",
        "A fact first seen because the parser changed is a first observation: undated, on the page, not pushed.",
        "'2019-5-5, operating risk, warning: liquidation information, added member' went to the watchers.",
        f"{len(facts)} members on the page, the register's date unknown, first observed {', '.join(seen)}; "
        f"{len(ours.alerts_of(ours.register.subject))} alerts.",
        holds,
    )


def _held(said: dict[str, Any], ours: Findings) -> Check:
    held = [hold for hold in ours.holds if hold.get("section") == "liquidation"]
    rows = said["push"]["first_rows"] + said["push"]["second_rows"]
    observed = sum(hold.get("observed", 0) for hold in held)
    shown = ", ".join(
        f"{hold['observed']:,} rows where {hold['expected']:.2g} are expected (tail {hold['tail']:.1e})"
        for hold in held
    )
    return Check(
        "held",
        "A batch that departs from its baseline is held and shown to an operator.",
        f"{rows:,} liquidation rows against about none went out unseen by anybody.",
        f"Held for an operator: {shown or 'nothing'}.",
        observed >= rows,
    )


def _verified(ours: Findings) -> Check:
    genuine = ours.alerts_of(ours.register.genuine)
    risky = [alert for alert in genuine if alert.section == "liquidation"]
    holds = bool(risky) and ours.unchecked == 0 and all(alert.verification == "verified" for alert in risky)
    return Check(
        "verified",
        "A sensitive change is verified against the official source before anyone is alerted, or not pushed.",
        "A simple look at the free official page would have stopped it; nobody looked.",
        f"While the official site was down: {ours.unchecked} alerts. After it came back: {len(risky)} liquidation "
        f"alerts, {', '.join(sorted({alert.verification for alert in risky})) or 'none'}.",
        holds,
    )


def _carried(said: dict[str, Any], ours: Findings) -> Check:
    risky = ours.alerts_of(ours.register.genuine)
    dated = [alert for alert in risky if alert.section == "changes"]
    letters = ours.letters(ours.register.genuine)
    day = _day(said["genuine"]["liquidated_on"])
    carried = all(alert.source and alert.snapshot and alert.not_before and alert.not_after for alert in risky)
    undated = [letter for letter in letters if "日期不详" in _text(letter)]
    shown = [letter for letter in letters if day.isoformat() in _text(letter)]
    holds = (
        bool(risky)
        and carried
        and any(alert.effective_on == day for alert in dated)
        and bool(shown)
        and bool(undated)
        and all("观测区间" in _text(letter) for letter in shown)
    )
    return Check(
        "carried",
        "The alert carries the register's date, the observation window, the source, the snapshot, the verification.",
        "The alert named the day of the crawl as the day of the change, and no source.",
        f"{len(risky)} alerts carry source, snapshot and window; {len(shown)} mails give the register's date "
        f"{day.isoformat()}, {len(undated)} say 日期不详 where it gives none.",
        holds,
    )


def _objection(ours: Findings) -> Check:
    facts = _liquidation(ours.page)
    disputed = [fact for fact in facts if fact["disputed"]]
    return Check(
        "objection",
        "A company's notice of error marks the fact disputed at once.",
        "The item was deleted a day later; the recipients were never told.",
        f"Notice {ours.notice} filed: {len(disputed)} of {len(facts)} facts are shown as disputed at once.",
        bool(facts) and len(disputed) == len(facts),
    )


def _sources(ours: Findings) -> Check:
    def register(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return next(state for state in states if state["source"] == "cn-national-register")

    now, later = register(ours.sources), register(ours.sources_later)
    holds = bool(now["legal_basis"] and now["robots"] and now["rate"]["requests"]) and later["state"] == "stale"
    return Check(
        "sources",
        "Sources carry legal basis, robots and rate policy and expected freshness; a stale one is shown as stale.",
        "Data of 2014 was shown in 2019 as if it were of the day.",
        f"Basis: {now['legal_basis']}; robots obeyed; {now['state']} on 12 May, {later['state']} sixty days later.",
        holds,
    )


def _wave(said: dict[str, Any], ours: Findings) -> Check:
    rows = said["push"]["first_rows"] + said["push"]["second_rows"]
    false = ours.false_alerts()
    return Check(
        "wave",
        f"The {rows:,} rows produce no alert; the genuine liquidation of the same batch does, once verified.",
        f"{said['push']['first_rows']:,} rows on 5 May and {said['push']['second_rows']:,} on 6 May were pushed.",
        f"{len(false)} false alerts; {len(ours.alerts_of(ours.register.genuine))} alerts about the genuine one.",
        not false and bool(ours.alerts_of(ours.register.genuine)) and ours.first_observations >= rows,
    )


def _counter_proof(said: dict[str, Any], theirs: Findings) -> Check:
    push = said["push"]
    per_day: dict[date, int] = {}
    for alert in theirs.false_alerts():
        # With the screen off, an alert is dated by the day on which the difference was seen.
        seen = alert.effective_on or alert.not_after.astimezone(UTC).date()
        per_day[seen] = per_day.get(seen, 0) + 1
    wanted = {_day(push["first_day"]): push["first_rows"], _day(push["second_day"]): push["second_rows"]}
    shown = ", ".join(f"{number:,} dated {day}" for day, number in sorted(per_day.items()))
    return Check(
        "counter_proof",
        "With re-reading and screen switched off, the same pages give the judgment's false alerts: the check can fail.",
        f"{push['first_rows']:,} on {push['first_day']}, {push['second_rows']:,} on {push['second_day']}.",
        f"Switched off: {shown or 'none'}.",
        per_day == wanted,
    )


def _retracted(theirs: Findings) -> Check:
    return Check(
        "retracted",
        "A wrong alert is taken back to exactly its recipients, through the same channels.",
        "The court had to order a clarification in the same scope as the push.",
        f"{len(theirs.told)} deliveries carried the wrong alert, {len(theirs.heard)} its correction; "
        f"{'the same' if theirs.told == theirs.heard else 'not the same'} members and channels.",
        bool(theirs.told) and theirs.told == theirs.heard,
    )


def _liquidation(page: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        fact
        for source in page.get("sources", [])
        for fact in source["sections"].get("liquidation", {}).get("facts", [])
    ]


def _text(letter: EmailMessage) -> str:
    body = letter.get_body(("plain", "html"))
    return f"{letter['subject']}\n{body.get_content() if body else ''}"


def _day(value: date | datetime) -> date:
    return value.date() if isinstance(value, datetime) else value
