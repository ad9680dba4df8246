"""What differs between two reads, of what kind it is, and what never is a change."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duecare.registers import changes, fold
from duecare.registers.adapter import adapter
from duecare.registers.batches import Outcome
from duecare.registers.changes import count, query
from duecare.registers.company import company
from duecare.registers.held import shown
from duecare.registers.ingest import ingest_file, reject, release, stage_arrival
from duecare.registers.models import Batch
from duecare.registers.tables import Tables
from duecare.settings import load
from duecare.store.home import Home

from .listing import SOURCE, ListAdapter, day, write_list


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """An empty home."""
    with Home(load(home=tmp_path / "home")) as opened:
        yield opened


def facts(home: Home) -> list[tuple[Any, ...]]:
    """All versions held, in order, without the engine's hashes."""
    return (
        home.lake.connection.cursor()
        .execute(
            "SELECT section, entity, key, value, effective_on, first_observed, not_before, snapshot "
            f"FROM {Tables(home, SOURCE.name).scan('facts')} ORDER BY ALL"
        )
        .fetchall()
    )


def held(home: Home) -> list[tuple[Any, ...]]:
    """What is shown now."""
    tables, cursor = Tables(home, SOURCE.name), home.lake.connection.cursor()
    return [
        (section, *row)
        for section in ("basic", "people")
        for row in cursor.execute(f"SELECT entity, key FROM {shown(tables, section)} ORDER BY ALL").fetchall()
    ]


def kinds(home: Home, **where: Any) -> list[tuple[str, str, str, str]]:
    """The changes as (entity, section, key, kind)."""
    return [(c["entity"], c["section"], c["key"], c["kind"]) for c in query(home, **where)]


def test_kinds_of_a_whole_list(home: Home, tmp_path: Path) -> None:
    """A renamed entity is an event, one that is gone a lapse, a new one a first observation with a window."""
    one = write_list(tmp_path, "one", [("basic", "A", "", "Alpha"), ("basic", "B", "", "Beta")])
    two = write_list(tmp_path, "two", [("basic", "A", "", "Alfa"), ("basic", "C", "", "Gamma")])
    ingest_file(home, ListAdapter(), one, day(0))
    assert {kind for *_, kind in kinds(home)} == {"first_observation"}
    ingest_file(home, ListAdapter(), two, day(5))
    changes = {c["entity"]: c for c in query(home, since=day(5))}
    assert {entity: c["kind"] for entity, c in changes.items()} == {
        "A": "event",
        "B": "lapse",
        "C": "first_observation",
    }
    assert json.loads(changes["A"]["before"]) == {"name": "Alpha"}
    assert json.loads(changes["A"]["after"]) == {"name": "Alfa"}
    assert all(c["not_before"] == day(0) and c["not_after"] == day(5) for c in changes.values())


def test_section_never_read_before_is_no_event(home: Home, tmp_path: Path) -> None:
    """A row in a section that no earlier read covered is a first observation: case 1."""
    basic_only = write_list(tmp_path, "a", [("basic", "A", "", "Alpha")], {"basic": "whole"})
    both = write_list(tmp_path, "b", [("basic", "A", "", "Alpha"), ("people", "A", "p1", "head")])
    ingest_file(home, ListAdapter(), basic_only, day(0))
    ingest_file(home, ListAdapter(), both, day(5))
    (change,) = query(home, since=day(5))
    assert (change["kind"], change["moved"], change["not_before"]) == ("first_observation", "scope", None)


def test_read_and_empty_is_not_unread(home: Home, tmp_path: Path) -> None:
    """After a section was read and found empty, a row in it is an event; after an unreadable one it is not."""
    listed = {"basic": "listed", "people": "listed"}
    empty = write_list(
        tmp_path, "a", [("basic", "A", "", "x"), ("basic", "B", "", "x")], listed,
        [("A", "basic", "read"), ("A", "people", "empty"), ("B", "basic", "read"), ("B", "people", "unreadable")],
    )  # fmt: skip
    full = write_list(
        tmp_path, "b", [("basic", "A", "", "x"), ("people", "A", "p", "head"), ("people", "B", "p", "head")], listed,
        [("A", "basic", "read"), ("A", "people", "read"), ("B", "people", "read")],
    )  # fmt: skip
    ingest_file(home, ListAdapter(), empty, day(0))
    ingest_file(home, ListAdapter(), full, day(1))
    assert kinds(home, since=day(1)) == [("A", "people", "p", "event"), ("B", "people", "p", "first_observation")]


def test_unreadable_section_closes_nothing(home: Home, tmp_path: Path) -> None:
    """A section whose markup broke is its own state: its rows neither lapse nor return when it is mended."""
    listed = {"people": "listed"}
    rows = [("people", "A", "p", "head")]
    good = write_list(tmp_path, "a", rows, listed, [("A", "people", "read")])
    broken = write_list(tmp_path, "b", [], listed, [("A", "people", "unreadable")])
    ingest_file(home, ListAdapter(), good, day(0))
    ingest_file(home, ListAdapter(), broken, day(1))
    assert company(home, "A")["sources"][0]["sections"]["people"]["state"] == "unreadable"
    ingest_file(home, ListAdapter(), good, day(2))
    assert [kind for *_, kind in kinds(home)] == ["first_observation"]


HOLES = {"basic": "partial", "people": "partial"}


def test_a_list_with_holes_closes_nothing(home: Home, tmp_path: Path) -> None:
    """What a list with holes does not show goes on, and is no news when the list is whole again; what it shows counts,
    in a window from the last read that would have shown it."""
    rows = [
        ("basic", "A", "", "Alpha"),
        ("basic", "B", "", "Beta"),
        ("people", "A", "p", "x"),
        ("people", "A", "q", "x"),
    ]
    whole = write_list(tmp_path, "whole", rows)
    holes = write_list(tmp_path, "holes", [("basic", "A", "", "Alfa"), ("people", "A", "p", "x")], HOLES)
    again = write_list(tmp_path, "again", [("basic", "A", "", "Alva"), *rows[1:], ("people", "A", "r", "x")])
    ingest_file(home, ListAdapter(), whole, day(0))
    assert ingest_file(home, ListAdapter(), holes, day(1)).changes == {"event": 1}
    (source,) = company(home, "B")["sources"]
    assert [fact["last_observed"] for fact in source["sections"]["basic"]["facts"]] == [day(0).isoformat()]
    assert source["last_read"] == source["sections"]["people"]["last_read"] == day(0).isoformat()
    assert company(home, "A")["sources"][0]["last_read"] == day(1).isoformat()
    assert ingest_file(home, ListAdapter(), again, day(2)).changes == {"event": 2}
    windows = {(c["section"], c["key"]): c["not_before"] for c in query(home, since=day(2))}
    assert windows == {("basic", ""): day(1), ("people", "r"): day(0)}


def test_a_list_with_holes_alone_calls_nothing_empty(home: Home, tmp_path: Path) -> None:
    """Where only a list with holes was read, what it shows was observed, and the rest counts as never read."""
    ingest_file(home, ListAdapter(), write_list(tmp_path, "a", [("basic", "A", "", "Alpha")], HOLES), day(0))
    (source,) = company(home, "A")["sources"]
    assert source["last_read"] == day(0).isoformat()
    assert {name: section["state"] for name, section in source["sections"].items()} == {"basic": "read"}


def test_records_set_aside_are_no_news(home: Home, tmp_path: Path) -> None:
    """Lines of a whole list that cannot be read, or are of no company, close nothing and are no news when they can."""
    sec, lines = adapter("us-sec-issuers-history"), [f"{n},T{n},Company {n},NYSE".encode() for n in range(1, 401)]

    def take(name: str, lines: list[bytes], number: int) -> Outcome:
        path = tmp_path / f"{name}.csv"
        path.write_bytes(b"\n".join([b"CIK,Ticker,Name,Exchange", *lines, b""]))
        return ingest_file(home, sec, path, day(number))

    broken = [line.replace(b"Company", b"Comp\xff\xfe") if n % 2 else line for n, line in enumerate(lines)]
    take("whole", lines, 0)
    outcome = take("broken", broken, 1)
    assert (outcome.state, outcome.rejects, outcome.changes) == ("committed", 200, {})
    assert take("whole again", [*lines[1:], b"x,T1,Company 1,NYSE"], 2).changes == {}
    assert take("shorter", lines[1:], 3).changes == {"lapse": 2}


def test_what_only_a_list_with_holes_did_not_show_is_no_event(home: Home, tmp_path: Path) -> None:
    """A row that may have stood in a hole of the first list is a first observation when it is seen."""
    holes = write_list(tmp_path, "holes", [("basic", "A", "", "Alpha"), ("people", "A", "p", "x")], HOLES)
    whole = write_list(
        tmp_path, "whole", [("basic", "A", "", "Alpha"), ("people", "A", "p", "x"), ("people", "A", "q", "x")]
    )
    ingest_file(home, ListAdapter(), holes, day(0))
    assert ingest_file(home, ListAdapter(), whole, day(1)).changes == {"first_observation": 1}


def test_a_late_list_with_holes_says_the_same(tmp_path: Path) -> None:
    """A list with holes closes nothing where it comes in late either, nor where it is the one that was there first."""
    one = [("basic", "A", "", "Alpha"), ("basic", "B", "", "Beta"), ("people", "A", "p", "x")]
    lists = [
        (write_list(tmp_path, "0", one), day(0)),
        (write_list(tmp_path, "1", [("basic", "A", "", "Alfa"), ("people", "A", "q", "x")], HOLES), day(1)),
        (write_list(tmp_path, "2", [("basic", "A", "", "Alfa"), ("people", "B", "p", "x")]), day(2)),
    ]
    ends = []
    for number, order in enumerate(itertools.permutations(lists)):
        with Home(load(home=tmp_path / f"home{number}")) as opened:
            for path, at in order:
                ingest_file(opened, ListAdapter(), path, at)
            ends.append((facts(opened), held(opened)))
            assert {c["not_after"] for c in query(opened, kind="lapse")} == {day(2)}
    assert all(end == ends[0] for end in ends)


def test_unchanged_or_reordered_list_emits_nothing(home: Home, tmp_path: Path) -> None:
    """The same rows in another order, or the same file on another day, are no change."""
    rows = [("people", "A", f"p{i}", "member") for i in range(5)]
    ingest_file(home, ListAdapter(), write_list(tmp_path, "a", rows), day(0))
    ingest_file(home, ListAdapter(), write_list(tmp_path, "b", rows[::-1]), day(1))
    ingest_file(home, ListAdapter(), write_list(tmp_path, "c", rows), day(2))
    assert kinds(home, since=day(1)) == []


def test_value_may_go_and_come_back(home: Home, tmp_path: Path) -> None:
    """A row may lapse and return any number of times; each is told once, and a repeated absence tells nothing."""
    there = write_list(tmp_path, "a", [("basic", "A", "", "x"), ("people", "A", "p", "head")])
    gone = write_list(tmp_path, "b", [("basic", "A", "", "x")])
    for number, path in enumerate([there, gone, gone, there, gone, there]):
        ingest_file(home, ListAdapter(), path, day(number))
    told = [kind for _, section, _, kind in kinds(home) if section == "people"]
    assert told == ["first_observation", "lapse", "event", "lapse", "event"]


def test_keys_are_not_joined(home: Home, tmp_path: Path) -> None:
    """("a", "bc") and ("ab", "c") are different rows."""
    ingest_file(home, ListAdapter(), write_list(tmp_path, "a", [("people", "a", "bc", "x")]), day(0))
    ingest_file(home, ListAdapter(), write_list(tmp_path, "b", [("people", "ab", "c", "x")]), day(1))
    told = sorted(kinds(home, since=day(1)))
    assert told == [("a", "people", "bc", "lapse"), ("ab", "people", "c", "first_observation")]


def test_read_below_the_floor_is_held(home: Home, tmp_path: Path) -> None:
    """A list cut to a tenth closes nothing until an operator releases it; rejecting it changes nothing."""
    rows = [("basic", f"E{i}", "", "x") for i in range(100)]
    ingest_file(home, ListAdapter(), write_list(tmp_path, "a", rows), day(0))
    short = write_list(tmp_path, "b", rows[:10])
    outcome = ingest_file(home, ListAdapter(), short, day(1))
    assert outcome.state == "held"
    assert "under the floor" in outcome.reason
    assert kinds(home, since=day(1)) == []
    reject(home, outcome.batch, by="tester", reason="cut short")
    assert ingest_file(home, ListAdapter(), short, day(1)).state == "rejected"


def test_a_few_rows_are_held_below_the_floor_too(home: Home, tmp_path: Path) -> None:
    """Of a list of nineteen only one row is left: nothing is closed. A single row may go by itself."""
    rows = [("basic", f"E{i}", "", "x") for i in range(19)]
    ingest_file(home, ListAdapter(), write_list(tmp_path, "a", rows), day(0))
    assert ingest_file(home, ListAdapter(), write_list(tmp_path, "b", rows[:1]), day(1)).state == "held"
    assert ingest_file(home, ListAdapter(), write_list(tmp_path, "c", rows[:10]), day(2)).state == "committed"
    assert [kind for *_, kind in kinds(home, since=day(1))] == ["lapse"] * 9


def test_a_single_row_may_be_gone(home: Home, tmp_path: Path) -> None:
    """What lists one thing, or none, is not below any floor."""
    there = write_list(tmp_path, "a", [("basic", "A", "", "x"), ("people", "A", "p", "head")])
    gone = write_list(tmp_path, "b", [("basic", "A", "", "x")])
    ingest_file(home, ListAdapter(), there, day(0))
    assert ingest_file(home, ListAdapter(), gone, day(1)).changes == {"lapse": 1}


def test_a_late_list_is_measured_at_its_own_moment(home: Home, tmp_path: Path) -> None:
    """An older list of a register that has grown is taken in; one that was cut short then is held, and so is one of
    which the next list shows little."""
    rows = [("basic", f"E{i}", "", "x") for i in range(60)]
    ingest_file(home, ListAdapter(), write_list(tmp_path, "new", rows), day(10))
    assert ingest_file(home, ListAdapter(), write_list(tmp_path, "old", rows[:12]), day(2)).state == "committed"
    cut = ingest_file(home, ListAdapter(), write_list(tmp_path, "cut", rows[:2]), day(6))
    assert (cut.state, "where 12 are held" in cut.reason) == ("held", True)
    more = ingest_file(home, ListAdapter(), write_list(tmp_path, "more", rows), day(1))
    assert (more.state, "the next list has 12" in more.reason) == ("held", True)
    assert kinds(home, kind="lapse") == []


def test_released_batch_is_applied(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was held below the floor is applied once an operator says so."""
    from duecare.registers import catalogue

    monkeypatch.setattr(catalogue, "all_adapters", lambda home: {SOURCE.name: ListAdapter()})
    rows = [("basic", f"E{i}", "", "x") for i in range(100)]
    ingest_file(home, ListAdapter(), write_list(tmp_path, "a", rows), day(0))
    outcome = ingest_file(home, ListAdapter(), write_list(tmp_path, "b", rows[:10]), day(1))
    assert release(home, outcome.batch, by="tester", reason="the register was split").state == "committed"
    assert len(kinds(home, since=day(1), kind="lapse")) == 90


def test_what_comes_after_a_release_is_compared_with_what_was_released(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No batch shares its number with a released one, so that what is shown is what the newest of them says."""
    from duecare.registers import catalogue

    monkeypatch.setattr(catalogue, "all_adapters", lambda home: {SOURCE.name: ListAdapter()})
    rows = [("basic", f"E{i:03}", "", "x") for i in range(400)]
    other = [(section, entity, key, "y") for section, entity, key, _ in rows]
    for number, said in enumerate((rows, other[:90], rows, rows, other[:90], other)):
        outcome = ingest_file(home, ListAdapter(), write_list(tmp_path, str(number), said), day(number))
        if outcome.state == "held":
            release(home, outcome.batch, by="tester", reason="the register was split")
    scan = Tables(home, SOURCE.name).scan("reads")
    numbered = home.lake.connection.execute(f"SELECT batch, seq FROM {scan} ORDER BY observed_at").fetchall()
    assert len({seq for _, seq in numbered}) == 6
    with home.database.session() as session:
        assert [session.get_one(Batch, batch).seq for batch, _ in numbered] == [seq for _, seq in numbered]
    moments = Counter(change["not_after"] for change in query(home, since=day(2)))
    assert moments == {day(2): 400, day(4): 400, day(5): 310}


def test_late_snapshot_finds_its_place(home: Home, tmp_path: Path) -> None:
    """An older snapshot moves the first observation back, narrows the window, and makes no news."""
    old = write_list(tmp_path, "a", [("people", "A", "p", "member")])
    mid = write_list(tmp_path, "b", [("people", "A", "p", "member"), ("people", "A", "q", "head")])
    new = write_list(tmp_path, "c", [("people", "A", "q", "head")])
    ingest_file(home, ListAdapter(), old, day(0))
    ingest_file(home, ListAdapter(), new, day(10))
    outcome = ingest_file(home, ListAdapter(), mid, day(5))
    assert outcome.late
    sections = company(home, "A")["sources"][0]["sections"]["people"]
    assert [(fact["key"], fact["first_observed"], fact["not_before"]) for fact in sections["facts"]] == [
        ("q", day(5).isoformat(), day(0).isoformat())
    ]
    assert sections["former"][0]["gone_since"] == day(10).isoformat()
    assert outcome.changes == {}


def test_late_list_folds_only_what_it_touches(home: Home, tmp_path: Path) -> None:
    """Of a list that arrives late, only what it says otherwise than its neighbours in time is folded anew."""
    rows = [("basic", f"E{i}", "", "same") for i in range(200)]
    before, after = [*rows[:-1], ("basic", "E199", "", "old")], [*rows[1:], ("basic", "E0", "", "new")]
    between = [("basic", "E0", "", "same"), ("basic", "E1", "", "other"), *rows[2:]]
    for number, said in ((0, before), (10, after), (5, between)):
        ingest_file(home, ListAdapter(), write_list(tmp_path, str(number), said), day(number))
    folded = home.lake.connection.execute("SELECT entity FROM work.affected ORDER BY entity").fetchall()
    # E0 changed after it, so its window is narrower now; E1 is another in it; E199 changed before it.
    assert [entity for (entity,) in folded] == ["E0", "E1", "E199"]
    told = {fact["first_observed"] for e in ("E1", "E199") for fact in _basic(home, e)}
    assert told == {day(5).isoformat(), day(10).isoformat()}
    assert [(fact["first_observed"], fact["not_before"]) for fact in _basic(home, "E0")] == [
        (day(10).isoformat(), day(5).isoformat())
    ]


def _basic(home: Home, entity: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = company(home, entity)["sources"][0]["sections"]["basic"]["facts"]
    return found


@pytest.mark.parametrize("order", [(0, 10, 20), (0, 20, 10), (20, 0, 10)])
def test_an_old_notice_of_a_feed_is_no_event_whenever_it_arrives(
    order: tuple[int, ...], home: Home, tmp_path: Path
) -> None:
    """What a feed dates long before it had been read last is a first observation, in a file that comes late as well."""
    said = {
        0: [("corrected", "x", "2019-01-01"), ("undated", "x", None), ("recent", "x", "2023-12-25")],
        10: [
            ("corrected", "y", "2019-01-01"), ("old", "x", "2023-12-24"), ("recent", "y", "2023-12-25"),
            ("untold", "x", None), ("new", "x", "2024-01-10"),
        ],
        20: [("newest", "x", "2024-01-20")],
    }  # fmt: skip
    for number in order:
        rows = [("people", "A", *notice) for notice in said[number]]
        path = write_list(tmp_path, str(number), rows, {"people": "additions"})
        ingest_file(home, ListAdapter(), path, day(number))
    found = {(change["not_after"], change["key"]): (change["kind"], change["moved"]) for change in query(home)}
    event, first = ("event", "source"), ("first_observation", "scope")
    assert found == {
        (day(0), "corrected"): first,
        (day(0), "undated"): first,
        (day(0), "recent"): event,
        (day(10), "corrected"): event,
        (day(10), "old"): first,
        (day(10), "recent"): event,
        (day(10), "untold"): event,
        (day(10), "new"): event,
        (day(20), "newest"): event,
    }


def test_reread_dates_back_and_makes_no_news(home: Home, tmp_path: Path) -> None:
    """A parser that learns a section dates its rows to the oldest snapshot that shows them."""
    path = write_list(tmp_path, "a", [("basic", "A", "", "x"), ("people", "A", "p", "head")])
    later = write_list(tmp_path, "b", [("basic", "A", "", "y"), ("people", "A", "p", "head")])
    old_parser = ListAdapter("1", ("basic",))
    ingest_file(home, old_parser, path, day(0))
    ingest_file(home, old_parser, later, day(30))
    ingest_file(home, ListAdapter("2"), later, day(31))
    people = company(home, "A")["sources"][0]["sections"]["people"]["facts"]
    assert [fact["first_observed"] for fact in people] == [day(0).isoformat()]
    told = [c for c in query(home) if c["section"] == "people"]
    assert [(c["kind"], c["moved"], c["late"]) for c in told] == [("first_observation", "parser", True)]


def test_reread_again_is_harmless(home: Home, tmp_path: Path) -> None:
    """Reading the stored snapshots again with the same parser changes nothing."""
    for number, text in enumerate("xyx"):
        ingest_file(home, ListAdapter(), write_list(tmp_path, str(number), [("basic", "A", "", text)]), day(number))
    before, changes = facts(home), kinds(home)
    from duecare.registers.reading import open_workshop  # the caller's place of work

    open_workshop(home.lake.connection)
    fold.reread(home, ListAdapter(), stage_arrival)
    assert facts(home) == before
    assert kinds(home) == changes


@pytest.mark.parametrize("limit", [None, 0, 1, 3, 4, 5, 100])
def test_the_first_changes_come_before_the_rest_in_one_order(
    limit: int | None, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are given at once, each change comes once, oldest window first, and they can be counted."""
    for number, text in enumerate("xyz"):
        rows = [("basic", entity, "", text) for entity in "BAC"]
        ingest_file(home, ListAdapter(), write_list(tmp_path, text, rows), day(number))
    whole = [(change["not_after"], change["entity"]) for change in query(home)]
    assert whole == [(day(number), entity) for number in range(3) for entity in "ABC"]
    assert (count(home), count(home, entity="A"), count(home, kind="lapse")) == (9, 3, 0)
    monkeypatch.setattr(changes, "_FIRST", 4)
    found = [(change["not_after"], change["entity"]) for change in query(home, limit=limit)]
    assert found == whole[:limit]


def test_same_file_twice_is_known(home: Home, tmp_path: Path) -> None:
    """A rerun is harmless."""
    path = write_list(tmp_path, "a", [("basic", "A", "", "x")])
    assert ingest_file(home, ListAdapter(), path, day(0)).state == "committed"
    assert ingest_file(home, ListAdapter(), path, day(0)).state == "known"
    assert len(kinds(home)) == 1


def test_each_source_says_when_it_was_read_itself(home: Home, tmp_path: Path) -> None:
    """A source that was read long ago is not as fresh as another that has the same company."""
    other = ListAdapter()
    other.source = replace(SOURCE, name="other-list")
    path = write_list(tmp_path, "a", [("basic", "A", "", "x")])
    ingest_file(home, ListAdapter(), path, day(0))
    ingest_file(home, other, path, day(30))
    read = {source["source"]: source["last_read"] for source in company(home, "A")["sources"]}
    assert read == {"test-list": day(0).isoformat(), "other-list": day(30).isoformat()}
    ingest_file(home, ListAdapter(), path, day(60))
    read = {source["source"]: source["last_read"] for source in company(home, "A")["sources"]}
    assert read == {"test-list": day(60).isoformat(), "other-list": day(30).isoformat()}


def test_past_moments_on_both_axes(home: Home, tmp_path: Path) -> None:
    """What was known then, and what was true then by the register's dates, can both be asked for."""
    first = write_list(tmp_path, "a", [("basic", "A", "", "old"), ("people", "A", "p", "fined", "2010-05-05")])
    second = write_list(tmp_path, "b", [("basic", "A", "", "new"), ("people", "A", "p", "fined", "2010-05-05")])
    ingest_file(home, ListAdapter(), first, day(0))
    ingest_file(home, ListAdapter(), second, day(10))
    assert company(home, "A", known_at=day(5))["name"] == "old"
    assert company(home, "A")["name"] == "new"
    before_all = company(home, "A", as_of=day(-400).date())["sources"][0]["sections"]
    assert [fact["value"] for fact in before_all["people"]["facts"]] == [{"post": "fined"}]
    assert before_all["basic"]["facts"] == []


def test_a_day_before_the_first_read_is_not_said_to_have_been_empty(home: Home, tmp_path: Path) -> None:
    """Of a day on which nothing had been read yet, nothing is said; of one after a read that found none, that."""
    ingest_file(home, ListAdapter(), write_list(tmp_path, "a", [("basic", "A", "", "x")]), day(0))
    ingest_file(home, ListAdapter(), write_list(tmp_path, "b", [("basic", "A", "", "y")]), day(10))

    def states(number: int) -> dict[str, str]:
        shown = company(home, "A", as_of=day(number).date())["sources"][0]["sections"]
        return {name: shown[name]["state"] for name in ("basic", "people")}

    assert states(-1) == {"basic": "not_read", "people": "not_read"}
    assert states(5) == {"basic": "read", "people": "empty"}


def test_a_past_day_shows_what_stood_then(home: Home, tmp_path: Path) -> None:
    """What was replaced or dropped since then stands under the facts of the day; what had ended by then, under former;
    the heading and the disagreements are of the day too."""
    lists = ([("A", "one"), ("B", "beta")], [("A", "two")], [("A", "one")])
    for number, rows in enumerate(lists):
        said = [("basic", entity, "", name) for entity, name in [*rows, *((f"E{n}", "x") for n in range(99))]]
        ingest_file(home, ListAdapter(), write_list(tmp_path, str(number), said), day(10 * number))

    def basic(entity: str, at: int) -> tuple[str | None, list[Any], list[Any]]:
        found = company(home, entity, as_of=day(at).date())
        section = found["sources"][0]["sections"]["basic"]
        facts, former = (
            [(fact["value"]["name"], fact["replaced"]) for fact in section[part]] for part in ("facts", "former")
        )
        assert section["state"] == ("read" if facts else "empty" if at > 0 else "not_read")
        return found["name"], facts, former

    assert basic("A", 5) == ("one", [("one", True)], [])
    assert basic("A", 15) == ("two", [("two", True)], [("one", True)])
    assert basic("A", 25) == ("one", [("one", False)], [("one", True), ("two", True)])
    assert basic("A", -5) == (None, [], [])
    assert basic("B", 5) == ("beta", [("beta", False)], [])
    assert basic("B", 15) == ("beta", [], [("beta", False)])


def test_one_version_stands_until_the_next_begins_by_the_registers_date(home: Home, tmp_path: Path) -> None:
    """A version read before the day on which it begins does not stand until then: the one before does."""
    for number, (post, dated) in enumerate([("member", ""), ("head", str(day(20).date()))]):
        listed = [("people", "A", "p", post, dated)] if dated else [("people", "A", "p", post)]
        ingest_file(home, ListAdapter(), write_list(tmp_path, post, listed), day(10 * number))
    for at, post in ((15, "member"), (25, "head")):
        section = company(home, "A", as_of=day(at).date())["sources"][0]["sections"]["people"]
        assert [fact["value"]["post"] for fact in section["facts"]] == [post]


_rows = st.lists(
    st.tuples(
        st.sampled_from(["basic", "people"]),
        st.sampled_from(["A", "B"]),
        st.sampled_from(["p", "q"]),
        st.sampled_from(["x", "y"]),
    ),
    max_size=6,
    unique_by=lambda row: row[:3] if row[0] == "people" else row[:2],
).map(lambda rows: [(s, e, "" if s == "basic" else k, t) for s, e, k, t in rows])


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lists=st.lists(st.tuples(_rows, st.sampled_from(["whole", "additions", "listed"])), min_size=2, max_size=5),
    data=st.data(),
)
def test_order_of_arrival_does_not_matter(
    lists: list[tuple[list[tuple[str, str, str, str]], str]],
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The same snapshots in any order end in the same facts, whole lists and parts of them too."""
    folder = tmp_path_factory.mktemp("orders")
    paths = []
    feed = any(each == "additions" for _, each in lists)
    for number, (rows, own) in enumerate(lists):
        coverage = lists[0][1] if feed else own
        reads = [("A", "basic", "read"), ("A", "people", "read")] if coverage == "listed" else None
        kept = [row for row in rows if reads is None or row[1] == "A"]
        path = write_list(folder, str(number), kept, {"basic": coverage, "people": coverage}, reads)
        paths.append((path, day(number)))
    ends = []
    orders = dict.fromkeys(map(tuple, (paths, paths[::-1], data.draw(st.permutations(paths)))))
    for index, order in enumerate(orders):
        with Home(load(home=folder / f"home{index}", lapse_floor=0)) as opened:
            for path, at in order:
                ingest_file(opened, ListAdapter(), path, at)
            ends.append((facts(opened), held(opened)))
    assert len(ends) > 1
    assert all(end == ends[0] for end in ends)
