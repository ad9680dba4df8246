"""Raising alerts and owing their deliveries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from owed import LIQUIDATION, NOW, alert, open_home, passed, watcher
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from duecare.clock import SetClock
from duecare.evidence.outbox import EvidenceEntry
from duecare.radar import alerts
from duecare.radar.alerts import Part, Raised, await_alerts, raise_alerts
from duecare.radar.models import Alert, Delivery, Member, Screening, Unraised, Verification
from duecare.radar.raisings import commit_contents, of_batch
from duecare.radar.walk import raise_passed
from duecare.radar.watches import Reach, end_watch, find_member
from duecare.store.home import Home


@pytest.fixture
def home(tmp_path: Path, database_url: str) -> Iterator[Home]:
    with open_home(tmp_path, database_url) as home:
        yield home


def owed(home: Home) -> set[tuple[str, str, str, str]]:
    """(member, entity, channel, mode) of every delivery."""
    with home.database.session() as session:
        rows = session.execute(
            select(Member.name, Alert.entity, Delivery.channel, Delivery.mode)
            .join(Delivery, Delivery.member_id == Member.id)
            .join(Alert, Alert.id == Delivery.alert_id)
        )
        return {(row[0], row[1], row[2], row[3]) for row in rows}


def test_only_what_passed_is_raised_with_all_it_carries(home: Home) -> None:
    """Held, verifying, refused and expired changes raise nothing; a raised one keeps date, window and verification."""
    states = ("held", "verifying", "refused", "expired")
    rows = [passed(f"X{index}", state=state) for index, state in enumerate(states)]
    good = passed("A", **LIQUIDATION)
    with home.database.session() as session:
        for attempt, address in enumerate(("http://register/old", "http://register/A")):
            session.add(
                Verification(change_id=good["change_id"], attempt=attempt, at=NOW, outcome="verified", address=address)
            )
    assert alert(home, [*rows, good]).alerts == 1
    with home.database.session() as session:
        one = session.scalars(select(Alert)).one()
        assert one.verification_id == session.scalar(select(Verification.id).where(Verification.attempt == 1))
    assert (one.effective_on, one.not_before, one.not_after) == (None, good["not_before"], good["not_after"])
    assert (one.verification, one.address, one.snapshot) == ("verified", "http://register/A", good["snapshot"])
    assert (one.change_id, json.loads(one.after or "")) == (good["change_id"], {"name": "成员甲", "role": "负责人"})


def test_each_watcher_is_owed_what_they_asked_for(home: Home) -> None:
    """Company, category, source and channels of the watch decide; real time or digest as the watch says."""
    mail = Reach("mail", "m@example.org")
    watcher(home, "all", ["A", "B"], mail)
    watcher(home, "risk", ["A", "B"], mail, watch={"categories": ["risk", "litigation"]}, realtime=False)
    watcher(home, "centre", ["A"], mail, watch={"channels": ["centre"]})
    watcher(home, "other source", ["A"], watch={"source": "elsewhere"})
    watcher(home, "same source", ["A"], watch={"source": "register"})
    watcher(home, "other company", ["C"])
    assert alert(home, [passed("A"), passed("B", **LIQUIDATION)]).deliveries == 8
    assert owed(home) == {
        ("all", "A", "centre", "realtime"),
        ("all", "A", "mail", "realtime"),
        ("all", "B", "centre", "realtime"),
        ("all", "B", "mail", "realtime"),
        ("risk", "B", "centre", "digest"),
        ("risk", "B", "mail", "digest"),
        ("centre", "A", "centre", "realtime"),
        ("same source", "A", "centre", "realtime"),
    }


def test_raising_again_raises_nothing_and_owes_nothing(home: Home) -> None:
    """A rerun is harmless, and a watch that began after the alert is not told of it."""
    watcher(home, "甲", ["A"])
    alert(home, [passed("A")])
    watcher(home, "乙", ["A"], at=NOW)
    with home.database.session() as session:
        again = raise_alerts(session, Part("batch-1"), at=NOW + timedelta(hours=1))
    assert (again.alerts, again.deliveries) == (0, 0)
    assert owed(home) == {("甲", "A", "centre", "realtime")}


def test_what_passes_later_is_raised_then_for_who_watches_then(home: Home) -> None:
    """A change verified after the rest of its batch is raised by itself; who ended their watch is not told."""
    watcher(home, "甲", ["A", "B"])
    watcher(home, "乙", ["A", "B"])
    late = passed("B", **{**LIQUIDATION, "state": "verifying"})
    alert(home, [passed("A"), late])
    with home.database.session() as session:
        session.execute(update(Screening).where(Screening.change_id == late["change_id"]).values(state="passed"))
        end_watch(session, find_member(session, "乙"), "B", at=NOW)
        raised = raise_alerts(session, Part("batch-1"), at=NOW + timedelta(days=2))
    assert (raised.alerts, raised.deliveries) == (1, 1)
    assert ("甲", "B", "centre", "realtime") in owed(home)
    assert ("乙", "B", "centre", "realtime") not in owed(home)


def test_what_passes_while_alerts_are_raised_is_raised_next(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """What passed after a batch was read is not forgotten; a batch that is done is not read again."""
    watcher(home, "甲", "AB")
    rows = [passed("A"), passed("B", state="held")]
    with home.database.session() as session:
        session.execute(insert(Screening), rows)
        await_alerts(session, "batch-1")

    def meanwhile(session: Session, part: Part, *, at: datetime) -> Raised:
        raised = raise_alerts(session, part, at=at)
        if rows.pop()["entity"] == "B":
            session.execute(update(Screening).where(Screening.entity == "B").values(state="passed"))
            await_alerts(session, "batch-1")
        return raised

    monkeypatch.setattr(alerts, "raise_alerts", meanwhile)
    assert [raise_passed(home).alerts for _ in range(3)] == [1, 1, 0]
    with home.database.session() as session:
        assert session.scalars(select(Unraised)).all() == []
    assert {entity for _, entity, *_ in owed(home)} == set("AB")


def test_a_part_raises_only_its_own(home: Home) -> None:
    """Raised in parts, every alert comes once with all of its deliveries, and each part leaves its own evidence."""
    watcher(home, "甲", "ABC")
    with home.database.session() as session:
        session.execute(insert(Screening), [passed(entity) for entity in "ABC"])
        first, second, _ = session.scalars(select(Screening.id).order_by(Screening.id))
    for part in (Part("batch-1", first, second), Part("batch-1", second, second), Part("batch-1", second + 1)):
        with home.database.session() as session:
            raise_alerts(session, part, at=NOW)
    assert {entity for _, entity, *_ in owed(home)} == set("ABC")
    with home.database.session() as session:
        raised = select(EvidenceEntry.body).where(EvidenceEntry.kind == "batch:alert").order_by(EvidenceEntry.id)
        bodies = [json.loads(body) for body in session.scalars(raised)]
    assert [(body["alerts"], body["deliveries"]) for body in bodies] == [(2, 2), (1, 1)]
    assert [(body["first"], body["last"]) for body in bodies] == [(first, second), (second + 1, second + 1)]
    with home.database.session() as session:
        assert [one.root for one in of_batch(session, "batch-1")] == [None, None]
    commit_contents(home.database, "batch-1", at=NOW)
    commit_contents(home.database, "batch-1", at=NOW)
    with home.database.session() as session:
        said = session.scalars(select(EvidenceEntry.body).where(EvidenceEntry.kind == "batch:contents"))
        assert sorted(json.loads(body)["contents"]["size"] for body in said) == [1, 2]
        assert all(one.root for one in of_batch(session, "batch-1"))


def test_two_at_once_raise_each_alert_once(home: Home) -> None:
    """Two processes that raise what is pending share it: no alert and no delivery comes twice."""
    watcher(home, "甲", (f"C{number}" for number in range(300)))
    with home.database.session() as session:
        rows = [passed(f"C{number}", batch_id=f"batch-{number % 3}") for number in range(300)]
        session.execute(insert(Screening), rows)
        for number in range(3):
            await_alerts(session, f"batch-{number}")
    other = Home(home.settings, SetClock(NOW))
    with ThreadPoolExecutor(2) as pool:
        raised = list(pool.map(raise_passed, (home, other)))
    other.close()
    assert sum(raised, Raised()) == Raised(300, 300)
    assert len(owed(home)) == 300


def test_alerts_leave_evidence_in_their_transaction(home: Home) -> None:
    """The evidence of a batch's alerts commits with them, and is undone with them."""
    with Session(home.database.engine) as session:
        session.execute(insert(Screening), [passed("A")])
        raise_alerts(session, Part("batch-1"), at=NOW)
        session.rollback()
    with home.database.session() as session:
        assert session.scalar(select(EvidenceEntry.id)) is None
    alert(home, [passed("A")])
    with home.database.session() as session:
        entry, said = session.scalars(select(EvidenceEntry).order_by(EvidenceEntry.id))
    assert (entry.kind, entry.subject) == ("batch:alert", "batch:batch-1")
    assert (said.kind, said.subject) == ("batch:contents", "batch:batch-1")
    assert json.loads(entry.body)["alerts"] == 1
