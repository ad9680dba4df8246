"""Tests of what a notice of error keeps waiting, and what its decision refuses or lets go on, on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from official import Official, official_site, page, quick
from planted import SOURCE, START, change, open_home, plant, show
from sqlalchemy import event, select, update

from duecare.clock import SetClock
from duecare.errors import BadInput, UnknownName
from duecare.evidence.outbox import EvidenceEntry
from duecare.radar.models import Alert, Screening, Verification
from duecare.radar.notices import decide, listed, look_up, open_notice
from duecare.radar.screen import pending
from duecare.radar.verify import verify
from duecare.radar.walk import walk
from duecare.registers.adapter import composite
from duecare.registers.company import company
from duecare.registers.fetch import Fetcher
from duecare.registers.sources import Source
from duecare.rules.engine import Engine
from duecare.store.home import Home

REASON = "该企业无此人"
PEOPLE = {name: composite(name, "监事") for name in "甲乙丙丁"}
"""Supervisors by name, as the keys of their facts: who is one is not sensitive."""


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The holdings of all cases."""
    return Engine.load()


@pytest.fixture
def site() -> Iterator[Official]:
    """The official site, which shows all supervisors of A."""
    with official_site() as opened:
        opened.pages["A"] = page("A", personnel=[{"name": name, "post": "监事"} for name in PEOPLE])
        yield opened


@pytest.fixture
def home(tmp_path: Path, database_url: str) -> Iterator[Home]:
    """A home with a first batch; the lake shows 甲 and 乙 as supervisors of A."""
    with open_home(tmp_path, database_url) as opened:
        plant(opened, [], day=0)
        show(opened, "A", "basic", {"name": "甲公司"}, at=START)
        for seq, name in enumerate("甲乙", start=2):
            show(opened, "A", "personnel", {"name": name, "post": "监事"}, key=PEOPLE[name], at=START, seq=seq)
        yield opened


def found(home: Home, *names: str, day: int) -> None:
    """Read on ``day`` that each of ``names`` became a supervisor of A."""
    rows = [change("A", "personnel", key=PEOPLE[name], after={"name": name, "post": "监事"}) for name in names]
    until(home, day)
    plant(home, rows, day=day)


def until(home: Home, day: int, hours: int = 0) -> None:
    """Let it be so many days and hours after the start."""
    assert isinstance(home.clock, SetClock)
    home.clock.set(START + timedelta(days=day, hours=hours))


def states(home: Home) -> dict[str, str]:
    """What became of each supervisor's change."""
    called = {key: name for name, key in PEOPLE.items()}
    with home.database.session() as session:
        return {called[key]: state for key, state in session.execute(select(Screening.key, Screening.state)).all()}


def told(home: Home) -> set[str]:
    """Of whom alerts stand."""
    called = {key: name for name, key in PEOPLE.items()}
    with home.database.session() as session:
        return {called[key] for key in session.scalars(select(Alert.key).where(Alert.state == "sent"))}


def walked(home: Home, engine: Engine, site: Official) -> None:
    """What ``duecare screen`` does."""
    walk(home, engine, quick, sites={SOURCE: site.url})


def alert_of(home: Home, name: str) -> int:
    """The alert of a supervisor."""
    with home.database.session() as session:
        return session.scalars(select(Alert.id).where(Alert.key == PEOPLE[name])).one()


def decided(home: Home) -> dict[str, Any]:
    """The evidence of the decision."""
    with home.database.session() as session:
        body = session.scalars(select(EvidenceEntry.body).where(EvidenceEntry.kind == "notice:decide")).one()
    return dict(json.loads(body))


@pytest.mark.parametrize("looked_at", [False, True], ids=["not looked at", "looked at meanwhile"])
def test_what_was_found_after_a_notice_was_opened_is_not_lost_with_it(
    looked_at: bool, home: Home, engine: Engine, site: Official
) -> None:
    """Upheld, it refuses what it could be about; what was read later goes on, and the next screening tells it."""
    found(home, "甲", "乙", day=1)
    pending(home, engine)
    number = open_notice(home, "A", "personnel", "我司无此人")
    found(home, "丙", day=2)
    pending(home, engine)
    if looked_at:
        verify(home, engine, quick, sites={SOURCE: site.url})
    assert states(home) == dict.fromkeys("甲乙丙", "verifying")
    until(home, 2, hours=1)
    done = decide(home, number, "upheld", by="Zhang", reason=REASON)
    assert (done.refused, done.going_on) == (2, 1)
    assert {key: done.as_json()[key] for key in ("refused", "going_on")} == {"refused": 2, "going_on": 1}
    assert (decided(home)["refused"], decided(home)["going_on"]) == (2, 1)
    walked(home, engine, site)
    assert states(home) == {"甲": "refused", "乙": "refused", "丙": "passed"}
    assert told(home) == {"丙"}


def test_what_was_read_before_a_notice_and_screened_after_it_was_known(
    home: Home, engine: Engine, site: Official
) -> None:
    """The company's page showed it when the notice was filed: it is refused with it."""
    found(home, "甲", day=1)
    until(home, 1, hours=1)
    number = open_notice(home, "A", "personnel", "我司无此人")
    pending(home, engine)
    assert decide(home, number, "upheld", by="Zhang", reason=REASON).refused == 1
    walked(home, engine, site)
    assert told(home) == set()


def test_a_fact_that_the_notice_names_is_refused_whenever_it_was_found(
    home: Home, engine: Engine, site: Official
) -> None:
    """A notice against one fact that is upheld says that this fact is wrong, also as it was read later."""
    number = open_notice(home, "A", "personnel", "我司无此人", key=PEOPLE["甲"])
    found(home, "甲", "乙", day=1)
    pending(home, engine)
    assert states(home) == {"甲": "verifying", "乙": "passed"}
    assert decide(home, number, "upheld", by="Zhang", reason=REASON).refused == 1
    walked(home, engine, site)
    assert told(home) == {"乙"}


def test_a_refused_notice_lets_all_go_on_at_once(home: Home, engine: Engine, site: Official) -> None:
    """However long it was open and whatever was looked up meanwhile, the next screening decides anew."""
    found(home, "甲", day=1)
    pending(home, engine)
    number = open_notice(home, "A", "personnel", "我司无此人")
    for hours in range(0, 100, 20):
        until(home, 1, hours=hours)
        verify(home, engine, quick, sites={SOURCE: site.url})
    assert states(home) == {"甲": "verifying"}
    done = decide(home, number, "refused", by="Zhang", reason="官方如此")
    assert (done.refused, done.going_on) == (0, 1)
    walked(home, engine, site)
    assert told(home) == {"甲"}


def test_what_is_refused_while_its_source_is_asked_stays_refused(home: Home, engine: Engine, site: Official) -> None:
    """A look at the source that was under way when the notice was upheld brings nothing back."""
    found(home, "甲", day=1)
    pending(home, engine)
    number = open_notice(home, "A", "personnel", "我司无此人")

    def deciding(source: Source) -> Fetcher:
        decide(home, number, "upheld", by="Zhang", reason=REASON)
        return quick(source)

    verify(home, engine, deciding, sites={SOURCE: site.url})
    assert site.asked
    assert states(home) == {"甲": "refused"}
    walked(home, engine, site)
    assert told(home) == set()


def test_what_goes_on_has_the_sources_days_before_it_again(home: Home, engine: Engine, site: Official) -> None:
    """The days that a notice was open do not count among those after which a change expires unsent."""
    until(home, 1)
    plant(home, [change("A", "penalties", key="1", after={"kind": "罚款"})], day=1)
    show(home, "A", "penalties", {"kind": "罚款"}, key="1", at=home.clock.now(), seq=9)
    pending(home, engine)
    number = open_notice(home, "A", "penalties", "没有受过处罚")
    until(home, 1 + 2 * home.settings.verification_days)
    decide(home, number, "refused", by="Zhang", reason="官方如此")
    site.status = 500
    walked(home, engine, site)
    with home.database.session() as session:
        assert session.scalars(select(Screening.state)).one() == "verifying"


def test_what_another_notice_is_open_against_waits_for_that_one(home: Home, engine: Engine, site: Official) -> None:
    """A decision lets go on what nobody objects to any more."""
    found(home, "甲", "乙", day=1)
    pending(home, engine)
    other = open_notice(home, "A", "personnel", "我司无此人", key=PEOPLE["甲"])
    number = open_notice(home, "A", "personnel", "我司无此二人")
    assert decide(home, number, "refused", by="Zhang", reason="官方如此").going_on == 1
    walked(home, engine, site)
    assert told(home) == {"乙"}
    assert decide(home, other, "refused", by="Zhang", reason="官方如此").going_on == 1
    walked(home, engine, site)
    assert told(home) == {"甲", "乙"}


def test_the_facts_that_were_wrong_are_named(home: Home, engine: Engine, site: Official) -> None:
    """Their alerts are taken back and their changes refused, whenever found; what is not named stands and goes on."""
    found(home, "甲", "乙", day=1)
    walked(home, engine, site)
    wrong = alert_of(home, "甲")
    number = open_notice(home, "A", "personnel", "我司无此人")
    found(home, "丙", "丁", day=2)
    pending(home, engine)
    done = decide(home, number, "upheld", by="Zhang", reason=REASON, keys=[PEOPLE["甲"], PEOPLE["丁"]])
    assert [each.alert for each in done.corrections] == [wrong]
    assert (done.refused, done.going_on) == (1, 1)
    walked(home, engine, site)
    assert told(home) == {"乙", "丙"}
    assert states(home)["丁"] == "refused"
    notices = company(home, "A")["sources"][0]["sections"]["personnel"]["notices"]
    assert {(each["key"], each["outcome"]) for each in notices} == {(PEOPLE[name], "upheld") for name in "甲丁"}
    assert "甲" not in json.dumps(decided(home), ensure_ascii=False), "a fact's key may be a person's name"


def test_the_alerts_that_were_wrong_narrow_what_is_refused(home: Home, engine: Engine, site: Official) -> None:
    """With alerts named alone, a change is refused where it is of one of their facts and was known before."""
    found(home, "甲", "乙", day=1)
    walked(home, engine, site)
    until(home, 2)
    again = [
        change("A", "personnel", key=PEOPLE[name], kind="lapse", before={"name": name, "post": "监事"})
        for name in "甲乙"
    ]
    plant(home, again, day=2)
    pending(home, engine)
    number = open_notice(home, "A", "personnel", "我司无此人")
    assert [(each["pending"], set(each["pending_keys"])) for each in listed(home)] == [
        (2, {PEOPLE["甲"], PEOPLE["乙"]})
    ]
    done = decide(home, number, "upheld", by="Zhang", reason=REASON, alerts=[alert_of(home, "甲")])
    assert (len(done.corrections), done.refused, done.going_on) == (1, 1, 1)
    with home.database.session() as session:
        kept = session.scalars(select(Screening.key).where(Screening.kind == "lapse", Screening.state != "refused"))
        assert kept.all() == [PEOPLE["乙"]]


def test_a_fact_that_is_not_of_the_notice_cannot_be_named(home: Home, engine: Engine, site: Official) -> None:
    """The error lists the facts that are. Nor is an alert of a fact that is not named, or a fact of what is refused."""
    found(home, "甲", "乙", day=1)
    walked(home, engine, site)
    number = open_notice(home, "A", "personnel", "我司无此人")
    with pytest.raises(UnknownName, match="no fact of notice 1 'nobody'") as caught:
        decide(home, number, "upheld", by="Zhang", reason=REASON, keys=["nobody"])
    assert all(PEOPLE[name] in caught.value.hint for name in "甲乙")
    with pytest.raises(UnknownName, match="no alert to take back"):
        decide(home, number, "upheld", by="Zhang", reason=REASON, keys=[PEOPLE["乙"]], alerts=[alert_of(home, "甲")])
    with pytest.raises(BadInput, match="finds no fact wrong"):
        decide(home, number, "refused", by="Zhang", reason=REASON, keys=[PEOPLE["甲"]])
    assert listed(home)[0]["state"] == "open"


def test_a_notice_lists_what_waits_because_of_it(home: Home, engine: Engine, site: Official) -> None:
    """How many changes, of which facts, and how many were found after it; decided, nothing waits."""
    found(home, "甲", day=1)
    pending(home, engine)
    number = open_notice(home, "A", "personnel", "我司无此人")
    found(home, "丙", day=2)
    pending(home, engine)
    (notice,) = listed(home)
    assert (notice["pending"], notice["pending_later"]) == (2, 1)
    assert notice["pending_keys"] == sorted([PEOPLE["甲"], PEOPLE["丙"]])
    decide(home, number, "refused", by="Zhang", reason="官方如此")
    (notice,) = listed(home)
    assert (notice["pending"], notice["pending_keys"], notice["pending_later"]) == (0, [], 0)


def test_notices_are_listed_by_few_statements(home: Home, engine: Engine, site: Official) -> None:
    """Fifty notices, open and decided, each with its own look and alerts, take no more statements than one."""
    rows = [change(f"C{number:02}", "basic", after={"address": str(number)}) for number in range(50)]
    until(home, 1)
    plant(home, rows, day=1)
    walked(home, engine, site)
    for number in range(50):
        show(home, f"C{number:02}", "basic", {"address": str(number)}, at=START, seq=10 + number)
        open_notice(home, f"C{number:02}", "basic", "住所有误")
    look_up(home, quick, sites={SOURCE: site.url})
    until(home, 2)
    look_up(home, quick, sites={SOURCE: site.url})
    with home.database.session() as session:
        newest = Verification.attempt == 2
        session.execute(update(Verification).where(newest).values(note=Verification.change_id))
    for number in range(1, 51, 2):
        decide(home, number, "refused", by="Zhang", reason="官方如此")
    asked: list[str] = []

    def note(_: object, __: object, statement: str, *rest: object) -> None:
        asked.append(statement)

    event.listen(home.database.engine, "before_cursor_execute", note)
    found_notices = listed(home)
    event.remove(home.database.engine, "before_cursor_execute", note)
    assert len([statement for statement in asked if "notices_of_error" in statement]) == 2
    assert len(asked) <= 4
    assert [each["id"] for each in found_notices] == list(range(50, 0, -1))
    assert all(len(each["alerts"]) == 1 for each in found_notices)
    assert [each["found"] for each in found_notices] == [f"notice:{each['id']}" for each in found_notices]
