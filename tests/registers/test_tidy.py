"""Tidying: a home does not grow by what is no longer true, and nobody sees a difference."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from duecare.errors import Busy
from duecare.registers.changes import query
from duecare.registers.company import company
from duecare.registers.ingest import ingest_file
from duecare.registers.tables import Tables
from duecare.registers.tidy import tidy
from duecare.settings import load
from duecare.store.home import Home

from .listing import SOURCE, ListAdapter, day, write_list
from .test_ingest_kills import everything, untidy

LISTED = {"basic": "listed", "people": "listed"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """An empty home."""
    with Home(load(home=tmp_path / "home", threads=1)) as opened:
        yield opened


def pages(home: Home, folder: Path, numbers: range) -> None:
    """Many small batches: in each, one company gets a new name."""
    for number in numbers:
        entity = f"E{number % 7}"
        path = write_list(
            folder, f"b{number}", [("basic", entity, "", f"name {number}")], LISTED, [(entity, "basic", "read")]
        )
        ingest_file(home, ListAdapter(), path, day(number))


def late(home: Home, folder: Path) -> None:
    """Snapshots of which each rewrites what is held."""
    for number in (0, 9, 5, 3, 1):
        rows = [("basic", f"E{n}", "", f"name {n % (number + 1)}") for n in range(40)]
        ingest_file(home, ListAdapter(), write_list(folder, f"l{number}", rows), day(number))


def test_many_small_batches_leave_few_files(home: Home, tmp_path: Path) -> None:
    """A crawl of one page at a time neither fills the home with files nor hides what it found."""
    pages(home, tmp_path, range(60))
    tables = Tables(home, SOURCE.name)
    for name, version in tables.versions.items():
        folder = home.lake.folder(SOURCE.name, name)
        assert len(home.lake.files(SOURCE.name, name, version)) <= 20, name
        assert len(list(folder.glob("*.parquet"))) <= 60, name
        assert len(list((folder / "_delta_log").iterdir())) <= 70, name
    told = [(change["entity"], change["after"]) for change in query(home)]
    assert sorted(told) == sorted((f"E{n % 7}", f'{{"name":"name {n}"}}') for n in range(60))
    assert company(home, "E3", known_at=day(20))["name"] == "name 17"


def test_tidying_changes_nothing_that_can_be_asked(home: Home, tmp_path: Path) -> None:
    """Facts, reads, changes and what is held are the same before and after; files that nothing names are gone."""
    late(home, tmp_path)
    pages(home, tmp_path, range(10, 30))
    tables = Tables(home, SOURCE.name)
    tables.write("facts", [f"SELECT * FROM {tables.scan('facts')} LIMIT 1"], replace=True)  # a write that was killed
    home.readers.close()
    before = everything(home.path)
    assert untidy(home.path)
    removed = tidy(home, wait=0)
    assert removed.files
    assert removed.size
    assert everything(home.path) == before
    assert not untidy(home.path)
    assert tidy(home, wait=0).files == 0
    pages(home, tmp_path, range(30, 32))
    assert company(home, "E2", known_at=day(30))["name"] == "name 30"


def test_files_are_not_taken_from_a_reader(home: Home, tmp_path: Path) -> None:
    """Whoever is in the middle of reading reads on to the end; tidying says that it waits for them."""
    late(home, tmp_path)
    with Home(load(home=home.path)) as reader:
        found = query(reader)
        first = next(found)
        with pytest.raises(Busy, match="reading"):
            tidy(home, wait=0)
        pages(home, tmp_path, range(10, 30))  # put together by itself, and nothing removed
        assert untidy(home.path)
        assert len([first, *found]) == len([change for change in query(home) if change["not_after"] < day(10)])
        tidy(home, wait=0)
    assert not untidy(home.path)


def test_a_reader_that_does_not_say_when_it_is_done_counts_until_it_closes(home: Home, tmp_path: Path) -> None:
    """What is read by its SQL, whenever that may be, is there."""
    late(home, tmp_path)
    with Home(load(home=home.path)) as reader:
        scan = Tables(reader, SOURCE.name).scan("facts")
        pages(home, tmp_path, range(10, 30))
        with pytest.raises(Busy):
            tidy(home, wait=0)
        assert reader.lake.connection.execute(f"SELECT count(*) FROM {scan}").fetchall()[0][0] > 40
    assert tidy(home, wait=0).files


def test_what_a_killed_first_write_left_goes(home: Home) -> None:
    """A table that was never declared leaves nothing, nor does a snapshot that was never finished."""
    home.lake.write("gone", "facts", -1, ["SELECT 'basic' AS section, 'E' AS entity"])
    home.snapshots.put(b"kept")
    partial = home.path / "snapshots" / "ab" / ".partial-x"
    partial.parent.mkdir(exist_ok=True)
    partial.write_bytes(b"cut")
    os.utime(partial, (0, 0))
    assert tidy(home, wait=0).files == 2
    assert not list((home.path / "lake" / "gone" / "facts").glob("*.parquet"))
    assert not partial.exists()
