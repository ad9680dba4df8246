"""Tests of screening and of holds, on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from planted import START, change, open_home, plant, wave
from sqlalchemy import event, func, select

from duecare.errors import BadInput, UnknownName, UseError
from duecare.evidence.outbox import EvidenceEntry
from duecare.radar import holds
from duecare.radar.holds import Selection
from duecare.radar.models import Hold, Screening, ScreeningSummary
from duecare.radar.screen import pending, screen
from duecare.registers.models import Batch, Dispute
from duecare.rules.engine import Engine
from duecare.store.home import Home


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The holdings of all cases."""
    return Engine.load()


@pytest.fixture
def home(tmp_path: Path, database_url: str) -> Iterator[Home]:
    """A home with a first batch, which is no history, and two quiet days."""
    with open_home(tmp_path, database_url) as opened:
        for day in range(3):
            plant(opened, [address("Q", day)] if day else [], day=day)
        yield opened


def address(entity: str, number: int = 0) -> dict[str, object]:
    """A company has moved: a change that nobody holds to be sensitive."""
    return change(
        entity, "basic", before={"status": "存续", "address": "甲"}, after={"status": "存续", "address": f"{number}"}
    )


def states(home: Home) -> dict[str, int]:
    """How many screened changes are in which state."""
    with home.database.session() as session:
        return dict(session.execute(select(Screening.state, func.count()).group_by(Screening.state)).all())


def kinds_of_evidence(home: Home) -> list[str]:
    """The kinds of the evidence recorded, in order."""
    with home.database.session() as session:
        return list(session.execute(select(EvidenceEntry.kind).order_by(EvidenceEntry.id)).scalars())


def test_a_first_observation_is_counted_and_never_told(home: Home, engine: Engine) -> None:
    """17,009 rows first seen by a new parser leave no row to tell, and the reason why is kept."""
    batch = plant(home, wave(17_009, kind="first_observation", moved="parser"), day=5)
    pending(home, engine)
    assert set(states(home)) == {"passed"}
    with home.database.session() as session:
        row = session.execute(select(ScreeningSummary).where(ScreeningSummary.batch_id == batch)).scalar_one()
        assert (row.count, row.outcome) == (17_009, "refused")
        assert row.reasons
        assert all(reason["zh"] and reason["en"] for reason in row.reasons)


def test_a_wave_of_first_observations_is_shown_to_the_operator(home: Home, engine: Engine) -> None:
    """The 8,023 rows are held for an operator to see, with the tail; releasing it tells none."""
    batch = plant(home, wave(8_023, kind="first_observation", moved="parser"), day=5)
    outcome = pending(home, engine)[-1]
    assert (outcome.batch, len(outcome.holds)) == (batch, 1)
    shown = holds.show(home, outcome.holds[0])
    assert (shown["observed"], len(shown["samples"])) == (8_023, 20)
    assert shown["tail"] < 1e-6
    assert shown["high"] < 8_023
    assert shown["history"]
    decided = holds.release(home, engine, outcome.holds[0], by="operator", reason="seen")
    assert decided.changes == {}
    assert "held" not in states(home)
    assert set(states(home)) == {"passed"}


def test_a_wave_of_events_is_held_whole(home: Home, engine: Engine) -> None:
    """8,023 liquidation rows that look like events are held as a whole, while the rest of the batch goes on."""
    plant(home, [*wave(8_023), address("A")], day=5)
    outcome = pending(home, engine)[-1]
    assert outcome.counts == {"held": 8_023, "passed": 1}
    assert states(home)["held"] == 8_023
    assert "batch:hold" in kinds_of_evidence(home)


def test_sensitive_goes_to_verification_and_the_rest_passes(home: Home, engine: Engine) -> None:
    """What says that a company closes waits for the source, in whichever section it says so; an address passes."""
    plant(
        home,
        [
            change("A", "liquidation", key="head", after={"name": "某", "role": "负责人"}),
            change("B", "basic", before={"status": "存续"}, after={"status": "注销"}),
            change("C", "annual_reports", key="2025", after={"year": "2025", "state": "清算"}),
            change("D", "basic", before={"status": "注销", "address": "甲"}, after={"status": "注销", "address": "乙"}),
            change("E", "annual_reports", key="2025", after={"year": "2025", "state": "开业"}),
            change("F", "basic", before={"status": "存续"}, after={"status": "清算"}),
            change("G", "changes", key="1", after={"item": "清算组备案", "after": "某、某某"}),
            change("H", "changes", key="1", after={"item": "住所变更", "after": "某路1号"}),
        ],
        day=5,
    )
    pending(home, engine)
    with home.database.session() as session:
        found = {row.entity: row for row in session.execute(select(Screening)).scalars()}
    assert {name: row.state for name, row in found.items() if name in "ABCDEFGH"} == {
        "A": "verifying",
        "B": "verifying",
        "C": "verifying",
        "D": "passed",
        "E": "passed",
        "F": "verifying",
        "G": "verifying",
        "H": "passed",
    }
    assert (found["A"].risk, found["A"].category, found["B"].risk, found["D"].risk) == (
        "warning",
        "risk",
        "warning",
        "note",
    )
    assert found["A"].reasons[0]["zh"]


def test_late_snapshots_and_parser_changes_make_no_news(home: Home, engine: Engine) -> None:
    """What an old snapshot shows that arrives late, or only a new parser sees, becomes no candidate."""
    plant(home, [change("A", "basic", after={"name": "甲"}, late=True)], day=5, late=True)
    plant(home, [change("B", "basic", after={"name": "乙"}, moved="parser")], day=6)
    outcomes = pending(home, engine)
    assert [outcome.counts for outcome in outcomes[-2:]] == [{"refused": 1}, {"refused": 1}]


def test_a_disputed_fact_waits(home: Home, engine: Engine) -> None:
    """A change to a fact against which a notice of error is open does not pass, though it is not sensitive."""
    with home.database.session() as session:
        session.add(
            Dispute(source="cn-national-register", entity="A", section="basic", key="", opened_at=START, note="")
        )
    plant(home, [address("A"), address("B")], day=5)
    assert pending(home, engine)[-1].counts == {"passed": 1, "verifying": 1}


def test_of_two_runs_at_once_one_tells_of_a_batch(home: Home, engine: Engine) -> None:
    """What another process screened between our question and our turn is not told of by us as well."""
    pending(home, engine)
    batch = plant(home, [address("A")], day=5)
    theirs: list[str] = []

    def other(*_: object) -> None:
        with Home(home.settings, home.clock) as second:
            theirs.extend(each.batch for each in pending(second, engine))

    event.listen(home.database.engine, "checkin", other, once=True)
    assert pending(home, engine) == []
    assert theirs == [batch]


def test_screening_again_changes_nothing(home: Home, engine: Engine) -> None:
    """A batch is screened once; a second run says that it was known and leaves every row as it was."""
    batch = plant(home, [address("A")], day=5)
    pending(home, engine)
    before = (states(home), kinds_of_evidence(home))
    assert screen(home, batch, engine).known
    assert pending(home, engine) == []
    assert (states(home), kinds_of_evidence(home)) == before


def test_a_screening_that_dies_leaves_nothing_behind(home: Home, engine: Engine) -> None:
    """A screening interrupted in the middle of its rows leaves no row, and the next one does all of it."""
    batch = plant(home, [address(f"{number:05}") for number in range(6_000)], day=5, reads={"basic": 10_000_000})

    def die(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        screen(home, batch, engine, progress=die)
    assert states(home) == {}
    seen: list[tuple[int, int]] = []
    screen(home, batch, engine, progress=lambda done, total: seen.append((done, total)))
    assert states(home)["held" if "held" in states(home) else "passed"] == 6_000
    assert seen[-1] == (6_000, 6_000)


def test_a_batch_that_was_not_committed_is_refused(home: Home, engine: Engine) -> None:
    """A batch below the floor is not screened; the error says why it is held."""
    batch = plant(home, [address("A")], day=5)
    with home.database.session() as session:
        row = session.get_one(Batch, batch)
        row.state, row.reason = "held", "Section basic has 3 rows where 900 are held."
    with pytest.raises(UseError, match="900 are held"):
        screen(home, batch, engine)
    assert [item["why"] for item in holds.waiting(home)] == ["Section basic has 3 rows where 900 are held."]


def test_with_the_screen_off_the_old_fault_comes_back(home: Home, engine: Engine) -> None:
    """Without screening, 8,023 first observations pass as news dated to the day they were seen: the check can fail."""
    batch = plant(home, wave(8_023, kind="first_observation", moved="parser"), day=5)
    pending(home, engine, screening=False)
    with home.database.session() as session:
        rows = session.execute(
            select(Screening.effective_on, Screening.kind, Screening.state, func.count())
            .where(Screening.batch_id == batch)
            .group_by(Screening.effective_on, Screening.kind, Screening.state)
        ).all()
    assert [tuple(row) for row in rows] == [(date(2026, 10, 6), "event", "passed", 8_023)]


def test_release_sends_sensitive_changes_to_verification(home: Home, engine: Engine) -> None:
    """A released hold goes on to verification where it is sensitive; who and why is kept with it and as evidence."""
    plant(home, wave(300), day=5)
    hold = pending(home, engine)[-1].holds[0]
    decided = holds.release(home, engine, hold, by="Zhang", reason="the register published a backlog")
    assert (decided.state, decided.changes, decided.left) == ("released", {"verifying": 300}, 0)
    assert states(home)["verifying"] == 300
    assert holds.waiting(home) == []
    with home.database.session() as session:
        row = session.get_one(Hold, hold)
        assert (row.decided_by, row.reason) == ("Zhang", "the register published a backlog")
        entry = session.execute(select(EvidenceEntry).where(EvidenceEntry.kind == "batch:release")).scalar_one()
        assert json.loads(entry.body)["by"] == "Zhang"


def test_part_of_a_hold_is_released_and_the_rest_rejected(home: Home, engine: Engine) -> None:
    """The dated ones, some companies and some changes go on; what is left is put aside; the hold says: partly."""
    dated = [
        change(f"D{number}", "liquidation", key="head", after={"name": "某"}, effective_on=date(2026, 10, 5))
        for number in range(4)
    ]
    plant(home, [*wave(300), *dated], day=5)
    hold = pending(home, engine)[-1].holds[0]
    with home.database.session() as session:
        one = session.execute(select(Screening.change_id).where(Screening.entity == "C000050")).scalars().first()
    first = holds.release(home, engine, hold, by="Z", reason="dated", part=Selection(dated=True))
    assert (first.changes, first.left, first.state) == ({"verifying": 4}, 300, "partly")
    some = holds.release(
        home, engine, hold, by="Z", reason="known", part=Selection(entities=("C000001",), changes=(str(one),))
    )
    assert (some.changes, some.left) == ({"verifying": 4}, 296)
    assert [item["left"] for item in holds.waiting(home)] == [296]
    rest = holds.reject(home, engine, hold, by="Z", reason="a parser's fault")
    assert (rest.changes, rest.left, rest.state) == ({"refused": 296}, 0, "partly")
    assert holds.waiting(home) == []
    with pytest.raises(UseError, match="was partly"):
        holds.release(home, engine, hold, by="Z", reason="again")


def test_a_part_of_several_holds_is_taken_from_those_that_have_it(home: Home, engine: Engine) -> None:
    """Of two holds of a batch, a company that stands in one is released there; one that stands in neither, nowhere."""
    lapses = [
        change(f"D{number:06}", "liquidation", key="x", kind="lapse", before={"name": "某"}) for number in range(300)
    ]
    batch = plant(home, [*wave(300), *lapses], day=5)
    numbers = pending(home, engine)[-1].holds
    assert set(holds.of_batch(home, batch)) == set(numbers)
    assert len(numbers) == 2
    (done,) = holds.decide(home, engine, numbers, "released", by="Z", reason="r", part=Selection(entities=("D000007",)))
    assert (sum(done.changes.values()), done.left) == (1, 299)
    with pytest.raises(BadInput, match=r"Nothing that is held in hold 1, 2"):
        holds.decide(home, engine, numbers, "rejected", by="Z", reason="r", part=Selection(entities=("nowhere",)))
    assert sorted(each["left"] for each in holds.waiting(home)) == [299, 300]


def test_a_change_is_named_by_the_beginning_of_its_id(home: Home, engine: Engine) -> None:
    """Eight digits, as a hold's samples show them, name one change; one digit names several, and none of them."""
    plant(home, wave(300), day=5)
    hold = pending(home, engine)[-1].holds[0]
    first = holds.show(home, hold)["samples"][0]["id"]
    with pytest.raises(BadInput, match="Several changes start with"):
        holds.release(home, engine, hold, by="Z", reason="r", part=Selection(changes=(first[:1],)))
    done = holds.release(home, engine, hold, by="Z", reason="r", part=Selection(changes=(first[:8],)))
    assert (sum(done.changes.values()), done.left) == (1, 299)


def test_a_rejected_hold_teaches_nothing(home: Home, engine: Engine) -> None:
    """What was rejected, or is not decided, is no history: the same wave the next day is held again, as unusual."""
    plant(home, wave(300), day=5)
    hold = pending(home, engine)[-1].holds[0]
    holds.reject(home, engine, hold, by="Z", reason="wrong")
    plant(home, wave(300), day=6)
    again = holds.show(home, pending(home, engine)[-1].holds[0])
    assert 300 not in [item["changes"] for item in again["history"]]


def test_a_re_reading_with_a_new_parser_is_shown_too(home: Home, engine: Engine) -> None:
    """A re-reading that suddenly finds thousands of liquidation rows is held for an operator, and tells nobody."""
    rows = [{**each, "late": True} for each in wave(8_023, kind="first_observation", moved="parser")]
    plant(home, rows, day=5, kind="reread", late=True, reads={})
    outcome = pending(home, engine)[-1]
    assert (outcome.counts, len(outcome.holds)) == ({"refused": 8_023}, 1)


def test_bad_use_of_a_hold_is_refused_and_changes_nothing(home: Home, engine: Engine) -> None:
    """No name, no reason, an unknown hold, a part that holds nothing: each is refused with what would be right."""
    plant(home, wave(300), day=5)
    hold = pending(home, engine)[-1].holds[0]
    for by, reason in (("", "why"), ("who", " ")):
        with pytest.raises(BadInput, match="is empty"):
            holds.release(home, engine, hold, by=by, reason=reason)
    with pytest.raises(BadInput, match="by has 201 characters"):
        holds.reject(home, engine, hold, by="Z" * 201, reason="r")
    with pytest.raises(UnknownName, match="no hold '999'"):
        holds.show(home, 999)
    with pytest.raises(BadInput, match="Nothing that is held"):
        holds.release(home, engine, hold, by="Z", reason="r", part=Selection(entities=("nobody",)))
    assert states(home)["held"] == 300
