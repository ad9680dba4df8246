"""Verification: a sensitive fact is looked up anew at the authoritative source before anyone is told of it.

    verified       the source says it now, and nothing that it says speaks against it
    contradicted   the source does not say it, or says what cannot be true at the same time: never told
    unavailable    the source is down, slow, unreadable, or asks us to wait: tried again, and given up unsent

The rule of this module: what could not be verified is not told (case 1, holding d). Waiting never turns into telling.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from duecare.errors import SourceForbids, SourceUnavailable, UnknownName
from duecare.evidence.outbox import record
from duecare.radar.alerts import await_alerts
from duecare.radar.candidates import Progress
from duecare.radar.contradictions import Claim, Finding, Point, check
from duecare.radar.disputes import disputed
from duecare.radar.judgement import Judge, Situation
from duecare.radar.models import Screening, Verification
from duecare.radar.second_reading import second_reading
from duecare.registers.adapter import PageAdapter
from duecare.registers.catalogue import adapter_for
from duecare.registers.fetch import Fetcher
from duecare.registers.sources import Source
from duecare.rules.engine import Engine
from duecare.store.home import Home

FIRST_WAIT = timedelta(minutes=5)
LONGEST_WAIT = timedelta(hours=12)
GIVE_UP_AFTER = 3
"""Failures in a row after which a source is left alone for the rest of the run."""


Fetching = Callable[[Source], Fetcher]
"""Makes the fetcher of a source: the polite one by default; a test or a demo gives one of a faster pace."""


@dataclass(frozen=True)
class Look:
    """One look at a source: what was found, where, and which snapshot was kept."""

    finding: Finding
    address: str = ""
    snapshot: str = ""
    retry_after: float | None = None
    final: bool = False


@dataclass(frozen=True)
class Outcome:
    """How many changes were looked at, by what became of them: passed, refused, expired, verifying (still waiting)."""

    states: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"states": self.states, "outcomes": self.outcomes}


def verify(
    home: Home,
    engine: Engine,
    fetching: Fetching | None = None,
    *,
    sites: Mapping[str, str] | None = None,
    progress: Progress = lambda done, total: None,
) -> Outcome:
    """Look up every change that waits for verification and is due. ``sites``: source → address of its site, where it
    is not the source's own (default: the setting ``sites``). ``fetching``: how to fetch, where not politely by
    default. Each company is asked for once; each answer commits.
    """
    judge, states, outcomes = Judge(engine), Counter[str](), Counter[str]()
    with home.writing("verification"), Lookup(home, fetching, sites) as lookup:
        due, done = _due(home), 0
        for (source, entity), names in due.items():
            for row, look in lookup.of(source, entity, names):
                done += 1
                with home.database.session() as session:
                    current = session.get_one(Screening, row.id, with_for_update=True)
                    if current.state != "verifying":
                        continue  # a notice of error was upheld while the source was asked
                    state = _settle(home, session, judge, current, look)
                states[state] += 1
                outcomes[look.finding.outcome] += 1
            progress(done, sum(map(len, due.values())))
    return Outcome(dict(states), dict(outcomes))


class Lookup:
    """Looks things up for one run; a source that fails again and again, or asks us to wait, is then left alone."""

    def __init__(self, home: Home, fetching: Fetching | None = None, sites: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.sites = home.settings.sites if sites is None else sites
        self._fetching = fetching or self._polite
        self._fetchers: dict[str, Fetcher] = {}
        self._failures: Counter[str] = Counter()
        self._asked_to_wait: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for fetcher in self._fetchers.values():
            fetcher.close()

    def of(self, source: str, entity: str, rows: list[Screening]) -> Iterator[tuple[Screening, Look]]:
        """One look for each of ``rows``, all of one company; its page is fetched once."""
        try:
            adapter = adapter_for(self.home, source)
        except UnknownName as error:
            for row in rows:
                yield row, _no_look(str(error))
            return
        if isinstance(adapter, PageAdapter):
            claims = [claim_of(row) for row in rows]
            yield from zip(rows, self.page(adapter, entity, claims), strict=True)
            return
        for row in rows:
            yield row, Look(*second_reading(self.home, row))

    def page(self, adapter: PageAdapter, entity: str, claims: list[Claim]) -> list[Look]:
        """Fetch the official page of ``entity`` anew, keep it, and hold each of ``claims`` against it."""
        name = adapter.source.name
        address = adapter.address(self.sites.get(name, adapter.source.address), entity)
        if self._failures[name] >= GIVE_UP_AFTER or name in self._asked_to_wait:
            look = _no_look("The source was not asked again in this run.", address, self._asked_to_wait.get(name))
            return [look] * len(claims)
        try:
            page = self._fetcher(adapter.source).get(address, entity)
        except SourceUnavailable as error:
            self._failures[name] += 1
            if error.retry_after is not None:
                self._asked_to_wait[name] = error.retry_after
            return [_no_look(str(error), address, error.retry_after)] * len(claims)
        except SourceForbids as error:
            return [_no_look(str(error), address, final=True)] * len(claims)
        self._failures[name] = 0
        snapshot = self.home.snapshots.put(page.body)
        if page.status != 200:
            point = Point(
                "no_page", "官方网站没有该企业的页面。", f"The official site has no such page ({page.status})."
            )
            return [Look(Finding("unavailable", (), (point,)), page.url, snapshot)] * len(claims)
        read = adapter.read(page)
        return [Look(check(claim, read), page.url, snapshot) for claim in claims]

    def _fetcher(self, source: Source) -> Fetcher:
        if source.name not in self._fetchers:
            self._fetchers[source.name] = self._fetching(source)
        return self._fetchers[source.name]

    def _polite(self, source: Source) -> Fetcher:
        return Fetcher(source, self.home.settings.user_agent, clock=self.home.clock)


def claim_of(row: Screening) -> Claim:
    """What a screened change says."""
    return Claim(row.section, row.key, json.loads(row.after) if row.after else None, row.effective_on)


def wait(attempt: int, retry_after: float | None) -> timedelta:
    """How long to wait after the ``attempt``-th failure: doubling, and never shorter than the source asked for."""
    doubled = min(FIRST_WAIT * (1 << min(attempt - 1, 20)), LONGEST_WAIT)
    return max(doubled, timedelta(seconds=retry_after or 0))


def _due(home: Home) -> dict[tuple[str, str], list[Screening]]:
    """The changes to look up now, by source and company."""
    last = select(Verification.change_id, func.max(Verification.attempt).label("attempt")).group_by(
        Verification.change_id
    )
    latest = last.subquery()
    with home.database.session() as session:
        rows = session.execute(
            select(Screening)
            .outerjoin(latest, latest.c.change_id == Screening.change_id)
            .outerjoin(
                Verification,
                and_(
                    Verification.change_id == latest.c.change_id,
                    Verification.attempt == latest.c.attempt,
                ),
            )
            .where(
                Screening.state == "verifying",
                or_(Verification.id.is_(None), Verification.next_at <= home.clock.now()),
            )
            .order_by(Screening.source, Screening.entity, Screening.change_id)
        ).scalars()
        due: dict[tuple[str, str], list[Screening]] = {}
        for row in rows:
            due.setdefault((row.source, row.entity), []).append(row)
    return due


def _settle(home: Home, session: Session, judge: Judge, row: Screening, look: Look) -> str:
    """Keep what was found and ask the rules the last time; returns the state the change is in now."""
    now, outcome = home.clock.now(), look.finding.outcome
    attempt = attempts(session, row.change_id) + 1
    objected = bool(
        session.execute(select(Screening.change_id).where(Screening.change_id == row.change_id, disputed())).scalar()
    )
    situation = Situation(
        row.kind, row.moved, row.sensitive, row.late, row.effective_on is not None, objected, row.baseline, outcome
    )
    verdict = judge.verdict(situation)
    state, next_at = verdict.state, None
    if outcome == "contradicted":
        state = "refused"
    elif state != "passed":
        state = "verifying"
        next_at = now + wait(attempt, look.retry_after)
        # While an objection is open the clock of the source does not run: the objection decides, not its length.
        expires = (row.decided_at or now) + timedelta(days=home.settings.verification_days)
        if look.final or (outcome == "unavailable" and not objected and now >= expires):
            state, next_at = "expired", None
    found = keep(session, row.change_id, attempt, now, look, next_at)
    row.state, row.verification, row.reasons = state, outcome, verdict.reasons
    if state != "verifying":
        row.decided_at, row.decided_by = now, "verify"
    if state == "passed":
        await_alerts(session, row.batch_id)
    body = {
        "change": row.change_id,
        "batch": row.batch_id,
        "source": row.source,
        "section": row.section,
        "outcome": outcome,
        "state": state,
        "attempt": attempt,
        "first_snapshot": row.snapshot,
        "snapshot": found.snapshot,
        "contradictions": [point.id for point in look.finding.against],
    }
    record(session, "change:verify", f"change:{row.change_id}", body, now)
    return state


def attempts(session: Session, change_id: str) -> int:
    """How often the source was asked about this."""
    return (
        session.execute(select(func.max(Verification.attempt)).where(Verification.change_id == change_id)).scalar() or 0
    )


def keep(
    session: Session, change_id: str, attempt: int, at: datetime, look: Look, next_at: datetime | None
) -> Verification:
    """Add the row of one look at a source."""
    found = Verification(
        change_id=change_id,
        attempt=attempt,
        at=at,
        outcome=look.finding.outcome,
        snapshot=look.snapshot,
        address=look.address,
        contradictions=[{"id": point.id, "zh": point.zh, "en": point.en} for point in look.finding.against],
        note=look.finding.note,
        next_at=next_at,
    )
    session.add(found)
    session.flush()
    return found


def _no_look(why: str, address: str = "", retry_after: float | None = None, *, final: bool = False) -> Look:
    point = Point("unavailable", "暂无法核实。", why)
    return Look(Finding("unavailable", (), (point,)), address, "", retry_after, final)
