"""Tests of verification against a real official site over HTTP, on both databases."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from official import TEAM, Official, official_site, page, quick, report
from planted import SOURCE, START, change, open_home, plant, show
from sqlalchemy import func, select

from duecare.clock import SetClock
from duecare.evidence.outbox import EvidenceEntry
from duecare.radar.contradictions import Claim, check
from duecare.radar.models import Screening, Verification
from duecare.radar.screen import pending
from duecare.radar.verify import LONGEST_WAIT, Outcome, verify, wait
from duecare.registers.adapter import PageRead, Row, composite
from duecare.registers.models import Dispute
from duecare.rules.engine import Engine
from duecare.store.home import Home

HEAD = composite("负责人", "甲")


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The holdings of all cases."""
    return Engine.load()


@pytest.fixture
def site() -> Iterator[Official]:
    """The official site."""
    with official_site() as opened:
        yield opened


@pytest.fixture
def home(tmp_path: Path, database_url: str) -> Iterator[Home]:
    """A home with a first batch, which is no history."""
    with open_home(tmp_path, database_url) as opened:
        plant(opened, [], day=0)
        yield opened


def claim_liquidation(home: Home, *entities: str, **more: Any) -> None:
    """Screen a batch in which each of ``entities`` got a liquidation head."""
    rows = [change(entity, "liquidation", key=HEAD, after=TEAM[0], **more) for entity in entities]
    plant(home, rows, day=1)


def look(home: Home, engine: Engine, site: Official) -> Outcome:
    """Screen and verify against ``site``."""
    pending(home, engine)
    return verify(home, engine, quick, sites={SOURCE: site.url})


def row(home: Home, entity: str) -> Screening:
    """The screening of the one change of ``entity``."""
    with home.database.session() as session:
        return session.execute(select(Screening).where(Screening.entity == entity)).scalar_one()


def looks(home: Home) -> list[Verification]:
    """All looks at the source, oldest first."""
    with home.database.session() as session:
        return list(session.execute(select(Verification).order_by(Verification.id)).scalars())


def advance(home: Home, by: timedelta) -> None:
    """Let time pass."""
    assert isinstance(home.clock, SetClock)
    home.clock.advance(by)


def test_the_relic_of_case_one_is_contradicted(home: Home, engine: Engine, site: Official) -> None:
    """Undated members of a company that is 存续 and files open reports, one of 2014 saying 清算: not told."""
    reports = [report(year, "清算" if year == 2014 else "开业") for year in range(2013, 2018)]
    site.pages["A"] = page("A", liquidation=TEAM, annual_reports=reports)
    claim_liquidation(home, "A")
    assert look(home, engine, site).as_json() == {"states": {"refused": 1}, "outcomes": {"contradicted": 1}}
    found = looks(home)[0]
    assert {point["id"] for point in found.contradictions} == {"status", "undated", "annual_report"}
    assert all(point["zh"] and point["en"] for point in found.contradictions)
    assert row(home, "A").reasons


def test_a_genuine_dated_liquidation_is_verified(home: Home, engine: Engine, site: Official) -> None:
    """A status of 清算 and a dated filing bear the members out; both snapshots are kept and the evidence names them."""
    filed = [{"item": "清算组备案", "before": None, "after": "甲、乙", "date": "2026-09-30"}]
    site.pages["A"] = page("A", "清算", liquidation=TEAM, changes=filed, annual_reports=[report(2025, "开业")])
    claim_liquidation(home, "A")
    assert look(home, engine, site).states == {"passed": 1}
    found, screened = looks(home)[0], row(home, "A")
    assert (screened.verification, found.outcome, found.address) == ("verified", "verified", f"{site.url}/report/A")
    assert b"\xe6\xb8\x85" in home.snapshots.get(found.snapshot)
    assert screened.snapshot
    assert screened.snapshot != found.snapshot
    with home.database.session() as session:
        entry = session.execute(select(EvidenceEntry).where(EvidenceEntry.kind == "change:verify")).scalar_one()
    assert json.loads(entry.body)["snapshot"] == found.snapshot
    assert "甲" not in entry.body


def test_a_fact_that_the_source_no_longer_shows_is_contradicted(home: Home, engine: Engine, site: Official) -> None:
    """Members that are gone from the page when it is fetched anew are not told."""
    site.pages["A"] = page("A", "清算")
    claim_liquidation(home, "A")
    look(home, engine, site)
    assert [point["id"] for point in looks(home)[0].contradictions] == ["gone"]
    assert row(home, "A").state == "refused"


def test_a_company_is_asked_for_once(home: Home, engine: Engine, site: Official) -> None:
    """Three sensitive changes of one company cost the official site one request."""
    site.pages["A"] = page("A", "清算", liquidation=TEAM)
    plant(
        home,
        [
            change("A", "liquidation", key=composite(member["role"], member["name"]), after=member)
            for member in [*TEAM, {"name": "丙", "role": "成员"}]
        ],
        day=1,
    )
    assert look(home, engine, site).states == {"passed": 2, "refused": 1}
    assert site.asked == ["/report/A"]


def test_a_source_that_is_down_is_tried_again_and_then_answers(home: Home, engine: Engine, site: Official) -> None:
    """A 500 leaves the change waiting with the time of the next try; when the site is back it is verified."""
    site.pages["A"], site.status = page("A", "清算", liquidation=TEAM), 500
    claim_liquidation(home, "A")
    assert look(home, engine, site).states == {"verifying": 1}
    assert looks(home)[0].next_at == home.clock.now() + wait(1, None)
    assert verify(home, engine, quick, sites={SOURCE: site.url}).states == {}, "not due yet"
    site.status = 200
    advance(home, wait(1, None))
    assert verify(home, engine, quick, sites={SOURCE: site.url}).states == {"passed": 1}
    assert [each.outcome for each in looks(home)] == ["unavailable", "verified"]


def test_what_stays_unavailable_expires_unsent(home: Home, engine: Engine, site: Official) -> None:
    """After the days that the settings allow, the change expires; it is never told, and the row says why."""
    site.status = 500
    claim_liquidation(home, "A")
    look(home, engine, site)
    advance(home, timedelta(days=home.settings.verification_days))
    assert verify(home, engine, quick, sites={SOURCE: site.url}).states == {"expired": 1}
    assert row(home, "A").state == "expired"
    assert looks(home)[-1].next_at is None


def test_a_source_that_is_gone_or_slow_makes_wait(home: Home, engine: Engine, site: Official) -> None:
    """A refused connection and an answer that does not come in time are both unavailable, never an error."""
    claim_liquidation(home, "A")
    pending(home, engine)
    assert verify(home, engine, quick, sites={SOURCE: "http://127.0.0.1:9"}).outcomes == {"unavailable": 1}
    site.pages["A"], site.answer_after = page("A", "清算", liquidation=TEAM), threading.Event()
    advance(home, wait(1, None))
    assert verify(home, engine, quick, sites={SOURCE: site.url}).outcomes == {"unavailable": 1}
    assert "longer than 1 seconds" in looks(home)[-1].note


def test_a_changed_markup_is_unavailable(home: Home, engine: Engine, site: Official) -> None:
    """A section whose markup is no longer understood, or is not on the page, neither confirms nor contradicts."""
    site.pages["A"] = page("A", "清算", liquidation=TEAM)
    claim_liquidation(home, "A")
    site.broken = frozenset({"liquidation"})
    assert look(home, engine, site).outcomes == {"unavailable": 1}
    site.broken, site.hidden = frozenset(), frozenset({"liquidation"})
    advance(home, wait(1, None))
    assert verify(home, engine, quick, sites={SOURCE: site.url}).outcomes == {"unavailable": 1}
    assert all(each.snapshot for each in looks(home)), "the page that was not understood is kept"


def test_a_source_that_asks_us_to_wait_is_left_alone(home: Home, engine: Engine, site: Official) -> None:
    """A 429 with Retry-After ends the asking for this run and puts every change off for at least that long."""
    site.status, site.headers = 429, {"Retry-After": "7200"}
    claim_liquidation(home, "A", "B", "C")
    assert look(home, engine, site).outcomes == {"unavailable": 3}
    assert len(site.asked) == 1
    waits = [(each.next_at - home.clock.now()).total_seconds() for each in looks(home) if each.next_at]
    assert len(waits) == 3
    assert all(7190 <= each <= 7200 for each in waits)


def test_a_source_that_keeps_failing_is_not_hammered(home: Home, engine: Engine, site: Official) -> None:
    """After three failures in a row the rest of the run asks no more."""
    site.status = 500
    claim_liquidation(home, *"ABCDEFGH")
    assert look(home, engine, site).outcomes == {"unavailable": 8}
    assert len(site.asked) == 3


def test_what_robots_forbid_is_not_asked_and_expires(home: Home, engine: Engine, site: Official) -> None:
    """A page that robots.txt does not allow is not fetched; the change expires unsent at once."""
    site.disallow = "/report"
    claim_liquidation(home, "A")
    assert look(home, engine, site).states == {"expired": 1}
    assert site.asked == []


def test_a_disputed_fact_waits_though_the_source_says_it(home: Home, engine: Engine, site: Official) -> None:
    """While a notice of error is open even a verified fact is not told; when it is closed, it is."""
    site.pages["A"] = page("A", "清算", liquidation=TEAM)
    claim_liquidation(home, "A")
    with home.database.session() as session:
        session.add(Dispute(source=SOURCE, entity="A", section="liquidation", key="", opened_at=START, note=""))
    assert look(home, engine, site).states == {"verifying": 1}
    with home.database.session() as session:
        session.execute(select(Dispute)).scalar_one().closed_at = home.clock.now()
    advance(home, LONGEST_WAIT)
    assert verify(home, engine, quick, sites={SOURCE: site.url}).states == {"passed": 1}


def test_a_list_is_verified_by_a_newer_list(home: Home, engine: Engine, site: Official) -> None:
    """Where no page can be fetched a fact waits until a newer list, from other bytes, still says it, or no longer."""
    source = "uk-mutuals-register-history"
    plant(home, [], day=0, source=source, kind="file")
    for entity, key in (("A", "1"), ("B", "2")):
        show(home, entity, "penalties", {"kind": "罚款"}, key=key, source=source, at=START + timedelta(days=1))
    rows = [change(name, "penalties", key=key, after={"kind": "罚款"}) for name, key in (("A", "1"), ("B", "2"))]
    plant(home, rows, day=1, source=source, kind="file")
    pending(home, engine)
    assert verify(home, engine, quick).outcomes == {"unavailable": 2}
    later = START + timedelta(days=2)
    show(home, "A", "penalties", {"kind": "罚款"}, key="1", source=source, at=later, seq=2000, read_as="*")
    show(home, "B", "penalties", None, key="2", source=source, at=later, seq=2000, read_as="*")
    advance(home, timedelta(days=2))
    assert verify(home, engine, quick).outcomes == {"verified": 1, "contradicted": 1}
    assert (row(home, "A").state, row(home, "B").state) == ("passed", "refused")


def test_each_look_is_kept(home: Home, engine: Engine, site: Official) -> None:
    """Looks are numbered and none replaces another."""
    site.status = 500
    claim_liquidation(home, "A")
    look(home, engine, site)
    for attempt in (1, 2):
        advance(home, wait(attempt, None))
        verify(home, engine, quick, sites={SOURCE: site.url})
    assert [each.attempt for each in looks(home)] == [1, 2, 3]
    with home.database.session() as session:
        kinds = select(func.count()).where(EvidenceEntry.kind == "change:verify")
        assert session.execute(kinds).scalar_one() == 3


def test_waiting_doubles_up_to_half_a_day() -> None:
    """5, 10, 20 minutes and so on, at most 12 hours, never less than the source asked for."""
    assert [wait(attempt, None) for attempt in (1, 2, 3)] == [timedelta(minutes=5 * 2**n) for n in range(3)]
    assert wait(50, None) == LONGEST_WAIT
    assert wait(1, 86_400) == timedelta(days=1)


def read_of(**sections: list[Row]) -> PageRead:
    """A page as read, with a company that is 存续 unless it says otherwise."""
    return PageRead("A", {"basic": [Row("", {"status": "存续"})], **sections})


HEAD_ROW = Row(HEAD, TEAM[0])
FINE = Claim("penalties", "1", {"kind": "罚款"}, None)
CLAIM = Claim("liquidation", HEAD, TEAM[0], None)


@pytest.mark.parametrize(
    ("claim", "read", "outcome"),
    [
        (CLAIM, read_of(liquidation=[HEAD_ROW]), "contradicted"),
        (CLAIM, PageRead("A", {"liquidation": [HEAD_ROW]}), "unavailable"),
        (CLAIM, read_of(liquidation=[]), "contradicted"),
        (CLAIM, read_of(), "unavailable"),
        (
            CLAIM,
            read_of(liquidation=[HEAD_ROW], changes=[Row("1", {"item": "清算组备案"}, date(2026, 9, 30))]),
            "verified",
        ),
        (
            CLAIM,
            read_of(
                liquidation=[HEAD_ROW],
                changes=[Row("1", {"item": "清算组备案"}, date(2014, 9, 30))],
                annual_reports=[Row("2017", {"year": "2017", "state": "开业"})],
            ),
            "contradicted",
        ),
        (
            Claim("annual_reports", "2014", {"year": "2014", "state": "清算"}, date(2015, 6, 1)),
            read_of(
                annual_reports=[
                    Row("2014", {"year": "2014", "state": "清算"}),
                    Row("2015", {"year": "2015", "state": "开业"}),
                ]
            ),
            "contradicted",
        ),
        (
            Claim("annual_reports", "2025", {"year": "2025", "state": "清算"}, date(2026, 6, 1)),
            read_of(annual_reports=[Row("2025", {"year": "2025", "state": "清算"})]),
            "verified",
        ),
        (
            Claim("basic", "", {"status": "注销"}, None),
            PageRead("A", {"basic": [Row("", {"status": "注销"})]}),
            "verified",
        ),
        (Claim("penalties", "1", {"kind": "罚款"}, None), read_of(penalties=[Row("1", {"kind": "罚款"})]), "verified"),
        (
            Claim("penalties", "1", {"kind": "罚款"}, None),
            read_of(penalties=[Row("1", {"kind": "警告"})]),
            "contradicted",
        ),
        (Claim("penalties", "1", None, None), read_of(penalties=[]), "verified"),
        (Claim("penalties", "1", None, None), read_of(penalties=[Row("1", {})]), "contradicted"),
    ],
)
def test_what_a_page_says_of_a_claim(claim: Claim, read: PageRead, outcome: str) -> None:
    """Each combination of what is claimed and what the page says has its one outcome."""
    assert check(claim, read).outcome == outcome
