"""A database that was restored from an older copy takes from the log what it has lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import func, select, text

from duecare.clock import SetClock
from duecare.errors import EvidenceBroken
from duecare.evidence.audit import audit
from duecare.evidence.check import all_hold
from duecare.evidence.log import Log
from duecare.evidence.outbox import (
    Act,
    EvidenceEntry,
    LoggedEntry,
    adopt,
    leaf,
    read_entries,
    record,
    record_all,
    sequence,
)
from duecare.evidence.proof import bundle, proof_bytes, verify_bundle
from duecare.store.database import Database
from tests.conftest import POSTGRES

AT = datetime(2026, 3, 1, 4, 5, 6, 789012, tzinfo=UTC)
NOW = SetClock(datetime(2026, 4, 1, tzinfo=UTC))
FRESH = get_context("forkserver")
FRESH.set_forkserver_preload(["duecare.evidence.outbox"])


class Copy:
    """A copy of the whole database, taken and put back by the database's own means."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._kept = url, folder / "copy"
        if url.startswith("sqlite"):
            self._copy(Path(url.removeprefix("sqlite:///")), self._kept)
        else:
            name = url.rpartition("/")[2]
            with psycopg.connect(POSTGRES, autocommit=True) as admin:
                admin.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name}")

    def put_back(self) -> None:
        if self._url.startswith("sqlite"):
            for left in Path(self._url.removeprefix("sqlite:///")).parent.glob("test.db*"):
                left.unlink()
            self._copy(self._kept, Path(self._url.removeprefix("sqlite:///")))
            return
        name = self._url.rpartition("/")[2]
        with psycopg.connect(POSTGRES, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
            admin.execute(f"ALTER DATABASE {name}_copy RENAME TO {name}")

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        with sqlite3.connect(source) as here, sqlite3.connect(target) as there:
            here.backup(there)


class World:
    """A database that can go back in time, and a log that cannot."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.database, self.log = Database(url), Log.at(folder / "home")

    def record(self, count: int, kind: str = "alert:send") -> None:
        with self.database.session() as session:
            record_all(session, [Act(kind, f"alert:{at}", {"标题": "清算", "n": at}, AT) for at in range(count)])

    def keep(self) -> Copy:
        self.database.close()
        copy = Copy(self.url, self.folder)
        self.database = Database(self.url)
        return copy

    def put_back(self, copy: Copy) -> None:
        self.database.close()
        copy.put_back()
        self.database = Database(self.url)

    def rows(self) -> list[tuple[Any, ...]]:
        with self.database.session() as session:
            found = session.scalars(select(EvidenceEntry).order_by(EvidenceEntry.id)).all()
        return [(row.id, row.kind, row.subject, row.at, row.body, row.leaf_index) for row in found]


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    made = World(database_url, tmp_path)
    yield made
    made.database.close()
    if not database_url.startswith("sqlite"):
        with psycopg.connect(POSTGRES, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {database_url.rpartition('/')[2]}_copy WITH (FORCE)")


def test_what_was_lost_is_taken_back_as_it_was(world: World) -> None:
    """After a restore the entries of the log stand in the database again, each as before, and may be proved."""
    world.record(5)
    sequence(world.database, world.log)
    copy = world.keep()
    world.record(700)
    sequence(world.database, world.log)
    before = world.rows()
    world.put_back(copy)
    assert len(world.rows()) == 5
    taken = adopt(world.database, world.log, NOW)
    assert [each.id for each in taken] == [row[0] for row in before[5:]]
    assert [(each.index, each.kind, each.subject, each.at, each.body) for each in taken[:2]] == [
        (5, "alert:send", "alert:0", AT, {"标题": "清算", "n": 0}),
        (6, "alert:send", "alert:1", AT, {"标题": "清算", "n": 1}),
    ]
    rows = world.rows()
    assert rows[:-1] == before
    assert rows[-1][1:4] == ("evidence:adopt", f"log:{world.log.key.name}", NOW.now())
    assert json.loads(rows[-1][4]) == {"entries": 700, "from_leaf": 5}
    assert sequence(world.database, world.log) == 1
    for entry in (before[5][0], before[-1][0], rows[-1][0]):
        assert all_hold(verify_bundle(proof_bytes(bundle(world.database, world.log, entry)), world.log.key))
    assert all_hold(audit(world.log.folder, world.log.key))


def test_new_entries_get_new_ids(world: World) -> None:
    """What is recorded after the restore has ids that nothing in the log has."""
    world.record(3)
    sequence(world.database, world.log)
    copy = world.keep()
    world.record(40)
    sequence(world.database, world.log)
    world.put_back(copy)
    adopt(world.database, world.log, NOW)
    world.record(10)
    sequence(world.database, world.log)
    found = [json.loads(entry)["id"] for entry in world.log.entries(0, world.log.size)]
    assert len(found) == len(set(found)) == 54


def test_nothing_lost_nothing_done(world: World) -> None:
    """Where the database knows all that the log holds, nothing is taken, recorded or changed; waiting entries wait."""
    assert adopt(world.database, world.log) == []
    world.record(3)
    sequence(world.database, world.log)
    world.record(2)
    before = world.rows()
    assert adopt(world.database, world.log) == []
    assert world.rows() == before


def test_nothing_lost_is_found_out_cheaply(world: World) -> None:
    """Where nothing was lost, no entry of the log is read, and nobody who writes is waited for."""
    world.record(300)
    sequence(world.database, world.log)
    shutil.rmtree(world.log.folder / "tile" / "entries")
    with world.log.locked():
        assert adopt(world.database, Log.at(world.folder / "home")) == []


def test_a_whole_database_is_made_anew_from_the_log(world: World) -> None:
    """An empty database takes everything, so that only the log need be kept."""
    copy = world.keep()
    world.record(600)
    sequence(world.database, world.log)
    before = world.rows()
    world.put_back(copy)
    assert len(adopt(world.database, world.log, NOW)) == 600
    assert world.rows()[:-1] == before


def test_a_killed_sequence_is_told_from_a_loss(world: World) -> None:
    """Entries that the database has, but does not know in the log, are only placed; those it has not are taken."""
    world.record(2)
    sequence(world.database, world.log)
    world.record(3)
    copy = world.keep()
    world.record(4)
    sequence(world.database, world.log)
    before = world.rows()
    world.put_back(copy)
    assert [each.index for each in adopt(world.database, world.log, NOW)] == [5, 6, 7, 8]
    assert world.rows()[:-1] == before
    assert json.loads(world.rows()[-1][4]) == {"entries": 4, "from_leaf": 5}


def test_only_placing_records_nothing(world: World) -> None:
    """Where nothing was lost, but a killed run could not note where entries stand, they are noted and that is all."""
    world.record(3)
    copy = world.keep()
    sequence(world.database, world.log)
    before = world.rows()
    world.put_back(copy)
    assert adopt(world.database, world.log, NOW) == []
    assert world.rows() == before


def test_a_database_that_went_on_is_refused(world: World) -> None:
    """Where an id of the log was given to something else, nothing is changed and the ids are named."""
    world.record(2)
    sequence(world.database, world.log)
    copy = world.keep()
    world.record(3)
    sequence(world.database, world.log)
    world.put_back(copy)
    world.record(1, "batch:hold")
    before = world.rows()
    with pytest.raises(EvidenceBroken, match=rf"other entries \(ids \[{before[-1][0]}\]\)"):
        adopt(world.database, world.log, NOW)
    assert world.rows() == before


def test_an_older_log_is_refused(world: World, tmp_path: Path) -> None:
    """Where the log is the older of the two, there is nothing to take, and that is said."""
    world.record(2)
    sequence(world.database, world.log)
    with pytest.raises(EvidenceBroken, match="knows 2 entries of the log, but the log holds 0"):
        adopt(world.database, Log.at(tmp_path / "other"), NOW)


@pytest.mark.parametrize(
    "written",
    [b"not an entry", b"{}", b'{"at":"2026","body":{},"id":1,"kind":"a:b","subject":"c"}',
     leaf(7, "alert:send", "alert:1", AT, "{}").replace(b"7", b"7.0"),
     leaf(7, "alert:send", "alert:1", AT, "{}").replace(b'"id":7', b'"id":"7"'),
     leaf(7, "alert:send", "alert:1", AT, '{"b":1,"a":2}')],
)  # fmt: skip
def test_what_is_no_entry_is_not_taken(world: World, written: bytes) -> None:
    """A log that holds something else than entries of an outbox is refused, and nothing is changed."""
    world.log.append([leaf(1, "alert:send", "alert:1", AT, "{}"), written])
    with pytest.raises(EvidenceBroken, match="holds at 1 is not an entry"):
        adopt(world.database, world.log, NOW)
    assert world.rows() == []


def test_an_id_twice_in_the_log_is_refused(world: World) -> None:
    """Two entries of one id cannot both be taken."""
    world.log.append([leaf(1, "alert:send", subject, AT, "{}") for subject in ("alert:1", "alert:2")])
    with pytest.raises(EvidenceBroken, match="ids that the log holds"):
        adopt(world.database, world.log, NOW)
    assert world.rows() == []


def _adopt_and_die(url: str, home: str, step: int) -> None:
    database, log, left = Database(url), Log.at(Path(home)), step

    def count_down(_event: str, _arguments: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count_down)
    adopt(database, log, NOW)
    os._exit(0)


def test_killed_anywhere_it_is_all_or_nothing(world: World) -> None:
    """Killed at ever later moments, an adoption has happened as a whole or not at all; the last one finishes."""
    copy = world.keep()
    world.record(30)
    sequence(world.database, world.log)
    before = world.rows()
    world.put_back(copy)
    world.database.close()
    step, killed = 1, 0
    while True:
        child = FRESH.Process(target=_adopt_and_die, args=(world.url, str(world.folder / "home"), step))
        child.start()
        child.join()
        rows = world.rows()
        if child.exitcode == 0:
            break
        killed += 1
        assert child.exitcode == -signal.SIGKILL
        assert rows == [] or rows[:-1] == before
        step += max(1, step // 2)
    assert killed > 2
    assert rows[:-1] == before
    assert sequence(world.database, world.log) == 1


def test_entries_are_read_from_a_place_and_of_kinds(world: World) -> None:
    """Whoever replays the log reads from a leaf on, all entries or those of some kinds, in their order."""
    for kind in ("alert:send", "erasure:complete", "erasure:begin", "alert:send", "erasure:complete"):
        world.record(120, kind)
    with world.database.session() as session:
        record(session, "note:quote", "note:1", {"text": '"kind":"erasure:complete","subject":'}, AT)
    sequence(world.database, world.log)
    every = list(read_entries(world.log))
    assert [each.index for each in every] == list(range(601))
    assert every[600].body == {"text": '"kind":"erasure:complete","subject":'}
    done = list(read_entries(world.log, 130, {"erasure:complete"}))
    assert [each.index for each in done] == [*range(130, 240), *range(480, 600)]
    assert {each.kind for each in done} == {"erasure:complete"}
    assert list(read_entries(world.log, 0, {"erasure:complete", "erasure:begin"}, size=250)) == every[120:250]
    assert list(read_entries(world.log, 601)) == []
    assert list(read_entries(world.log, 0, set())) == []
    assert isinstance(done[0], LoggedEntry)
    with world.database.session() as session:
        assert session.scalar(select(func.count()).select_from(EvidenceEntry)) == 601
        assert session.execute(text("SELECT max(leaf_index) FROM evidence")).scalar() == 600
