"""Feeds: a file that names a company because there is something new of it, or only because it is a wider file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from duecare.clock import BEIJING, SetClock
from duecare.radar.models import Alert, Hold, Screening, Verification
from duecare.radar.walk import Walked, walk
from duecare.registers.adapters.de_notices import DeNotices
from duecare.registers.changes import query
from duecare.registers.ingest import ingest_file
from duecare.rules.engine import Engine
from duecare.settings import load
from duecare.store.home import Home

FIRST = date(2026, 8, 3)
_COLUMNS = (
    "date", "id", "type", "state", "amtsgericht", "former_amtsgericht", "registerart", "registernummer",
    "company_name", "company_seat",
)  # fmt: skip
Notice = tuple[date, int, str]


@pytest.fixture
def home(tmp_path: Path, database_url: str) -> Iterator[Home]:
    with Home(load(home=tmp_path / "home", database_url=database_url), SetClock(_noon(FIRST))) as home:
        yield home


def _noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=BEIJING)


def day_of(number: int) -> date:
    return FIRST + timedelta(days=number)


def daily(number: int, size: int = 40, kind: str = "Einreichung neuer Dokumente") -> list[Notice]:
    """The notices of one day, each of a company of its own."""
    return [(day_of(number), number * 100_000 + row, kind) for row in range(size)]


def read(home: Home, engine: Engine, folder: Path, day: date, notices: Iterable[Notice]) -> Walked:
    """Ingest the file of a day, and let the radar walk."""
    path = folder / f"{day}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for published, number, kind in notices:
            row = (
                published,
                number,
                kind,
                "Sachsen",
                "Amtsgericht Chemnitz",
                "",
                "HRB",
                f"HRB {number}",
                "A GmbH",
                "X",
            )
            writer.writerow(row)
    home.clock = SetClock(_noon(day))
    ingest_file(home, DeNotices(), path)
    return walk(home, engine)


def kinds(home: Home, day: date) -> set[tuple[str, str]]:
    """(kind, moved) of the notices of the file of a day."""
    return {(row["kind"], row["moved"]) for row in news(home, day)}


def news(home: Home, day: date) -> list[dict[str, Any]]:
    """The changes of notices that the file of a day brought."""
    found = query(home, source=DeNotices.source.name, since=_noon(day) - timedelta(hours=12))
    return [row for row in found if row["section"] == "notices"]


def test_a_wider_file_brings_old_notices_and_no_news(home: Home, tmp_path: Path) -> None:
    """Notices of years ago that a wider file brings are first observations and are not told; those of the day are."""
    engine = Engine.load()
    for number in range(5):
        read(home, engine, tmp_path, day_of(number), daily(number))
        assert kinds(home, day_of(number)) == {("event", "source")}
    with home.database.session() as session:
        told = session.scalar(select(func.count()).select_from(Alert))
    old = [(date(2024, 11, 5) + timedelta(days=row), 900_000 + row, "Einreichung neuer Dokumente") for row in range(60)]
    walked = read(home, engine, tmp_path, day_of(5), [*old, *daily(5)])
    late = [row for row in news(home, day_of(5)) if row["effective_on"] < FIRST]
    assert {(row["kind"], row["moved"]) for row in late} == {("first_observation", "scope")}
    assert len(late) == 60
    assert walked.raised.alerts == 40
    with home.database.session() as session:
        assert session.scalar(select(func.count()).select_from(Alert)) == (told or 0) + 40
        assert session.scalar(select(func.min(Alert.effective_on))) == FIRST


def test_a_wave_in_a_feed_is_held(home: Home, tmp_path: Path) -> None:
    """A feed names whom it has news of, so that a wave names many: it is measured by what a batch usually brings."""
    engine = Engine.load()
    for number in range(12):
        read(home, engine, tmp_path, day_of(number), daily(number, 30 + number * 7 % 20))
    with home.database.session() as session:
        assert session.scalars(select(Hold)).all() == []
    walked = read(home, engine, tmp_path, day_of(12), daily(12, 800))
    with home.database.session() as session:
        found = {(hold.section, hold.kind): hold for hold in session.scalars(select(Hold))}
    # Companies that were never named before come with it: they are out of line too.
    assert set(found) == {("notices", "event"), ("basic", "first_observation")}
    hold = found["notices", "event"]
    assert (hold.observed, hold.expected < 60) == (800, True)
    assert walked.raised.alerts == 0


def test_another_file_of_a_feed_confirms_nothing(home: Home, tmp_path: Path) -> None:
    """That a feed goes on is no second reading of what it said once: a deletion waits, and expires unsent."""
    engine = Engine.load()
    read(home, engine, tmp_path, day_of(0), daily(0))
    read(home, engine, tmp_path, day_of(1), [*daily(1), (day_of(1), 777, "Löschungsankündigung")])
    for number in range(2, 20):
        read(home, engine, tmp_path, day_of(number), daily(number))
    with home.database.session() as session:
        assert session.scalars(select(Screening.state).where(Screening.sensitive)).all() == ["expired"]
        assert set(session.scalars(select(Verification.outcome))) == {"unavailable"}
        assert session.scalars(select(Alert.id).where(Alert.entity == "DE Chemnitz HRB 777")).all() == []
