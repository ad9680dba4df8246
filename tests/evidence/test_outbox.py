"""The outbox: evidence commits with its act, reaches the log exactly once, and is never changed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from multiprocessing import get_context
from pathlib import Path

import pytest
import rfc8785
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from duecare.errors import BadInput, EvidenceBroken
from duecare.evidence.audit import audit
from duecare.evidence.check import all_hold
from duecare.evidence.log import Log
from duecare.evidence.outbox import Act, EvidenceEntry, keep_up, leaf, record, record_all, sequence, waiting
from duecare.store.database import Database

AT = datetime(2019, 5, 5, 8, 0, tzinfo=timezone(timedelta(hours=8)))
FRESH = get_context("forkserver")
FRESH.set_forkserver_preload(["duecare.evidence.outbox"])


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def record_some(database: Database, count: int, start: int = 0) -> None:
    with database.session() as session:
        record_all(session, [Act("alert:send", f"alert:{at}", {"at": at}, AT) for at in range(start, start + count)])


def leaves(log: Log) -> list[bytes]:
    return list(log.entries(0, log.size))


def ids(log: Log) -> list[int]:
    return [json.loads(entry)["id"] for entry in leaves(log)]


def everything_is_in_the_log_once(database: Database, log: Log) -> None:
    with database.session() as session:
        rows = session.scalars(select(EvidenceEntry)).all()
    held = leaves(log)
    assert sorted(row.leaf_index for row in rows if row.leaf_index is not None) == list(range(len(held)))
    for row in rows:
        assert row.leaf_index is not None
        assert held[row.leaf_index] == leaf(row.id, row.kind, row.subject, row.at, row.body)
    assert all_hold(audit(log.folder, log.key))


def test_an_act_and_its_evidence_commit_together(database: Database, tmp_path: Path) -> None:
    """What was rolled back leaves no evidence; what committed does, with its id at once."""
    log = Log.at(tmp_path)
    with database.session() as session:
        entry = record(session, "alert:send", "alert:17", {"to": "sha256:00"}, AT)
        assert entry.id is not None
    try:
        with database.session() as session:
            record(session, "alert:send", "alert:18", {}, AT)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert sequence(database, log) == 1
    assert leaves(log) == [
        b'{"at":"2019-05-05T00:00:00.000000Z","body":{"to":"sha256:00"},"id":%d,"kind":"alert:send",'
        b'"subject":"alert:17"}' % entry.id
    ]
    assert sequence(database, log) == 0
    everything_is_in_the_log_once(database, log)


def test_entries_go_in_the_order_of_their_ids(database: Database, tmp_path: Path) -> None:
    """Entries of several transactions stand in the log in the order in which they were recorded."""
    log = Log.at(tmp_path)
    record_some(database, 300)
    assert sequence(database, log) == 300
    record_some(database, 10, 300)
    assert sequence(database, log) == 10
    assert ids(log) == sorted(ids(log))
    everything_is_in_the_log_once(database, log)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer at a time
def test_a_late_commit_is_not_lost(database: Database, tmp_path: Path) -> None:
    """On PostgreSQL a lower id may commit after a higher one was sequenced; it still enters the log."""
    log = Log.at(tmp_path)
    with database.session() as slow:
        record(slow, "batch:hold", "batch:1", {}, AT)
        record_some(database, 2)
        assert sequence(database, log) == 2
    assert sequence(database, log) == 1
    everything_is_in_the_log_once(database, log)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(body=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), JSON, max_size=4),
       subject=st.text(st.characters(exclude_categories=["Cs"])), number=st.integers(1, 2**53 - 1))  # fmt: skip
def test_a_leaf_is_canonical_json(body: dict[str, object], subject: str, number: int) -> None:
    """A leaf, put together from its parts, is what RFC 8785 makes of the whole."""
    try:
        canonical = rfc8785.dumps(body)  # type: ignore[arg-type]
    except rfc8785.CanonicalizationError:
        return
    made = leaf(number, "alert:send", subject, AT, canonical.decode())
    whole = {"id": number, "kind": "alert:send", "subject": subject, "at": "2019-05-05T00:00:00.000000Z", "body": body}
    assert made == rfc8785.dumps(whole)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (Act("Alert", "alert:1", {}, AT), "subject:verb"),
        (Act("alert:", "alert:1", {}, AT), "subject:verb"),
        (Act("alert:send", "", {}, AT), "one line"),
        (Act("alert:send", "a\nb", {}, AT), "one line"),
        (Act("alert:send", "alert:1", {"when": AT}, AT), "canonically"),
        (Act("alert:send", "alert:1", {"n": 2**60}, AT), "canonically"),
        (Act("alert:send", "alert:1", {"n": float("nan")}, AT), "canonically"),
        (Act("alert:send", "alert:1", {"text": "x" * 65_536}, AT), "at most 65535"),
        (Act("alert:send", "alert:1", {}, datetime(2019, 5, 5)), "no zone"),  # noqa: DTZ001 - that is the fault
    ],
)
def test_what_cannot_be_logged_is_refused_at_once(tmp_path: Path, act: Act, why: str) -> None:
    """A body, name or time that could not enter the log is refused before it is stored."""
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    with pytest.raises(BadInput, match=why), database.session() as session:
        record_all(session, [act])
    database.close()


@pytest.mark.parametrize(
    "statement",
    ["UPDATE evidence SET body = '{}'", "UPDATE evidence SET subject = 'other'", "UPDATE evidence SET id = id + 1",
     "UPDATE evidence SET leaf_index = leaf_index + 1", "UPDATE evidence SET leaf_index = NULL",
     "DELETE FROM evidence"],
)  # fmt: skip
def test_the_database_refuses_to_change_evidence(database: Database, tmp_path: Path, statement: str) -> None:
    """No statement changes or deletes what was recorded, or moves it in the log."""
    record_some(database, 2)
    sequence(database, Log.at(tmp_path))
    with pytest.raises(DBAPIError, match="evidence is never"), database.session() as session:
        session.execute(text(statement))


def test_a_kill_between_log_and_database_is_put_right(database: Database, tmp_path: Path) -> None:
    """Entries that a killed run appended, but could not note in the database, are found in the log, not sent again."""
    log = Log.at(tmp_path)
    record_some(database, 5)
    with database.session() as session:
        rows = session.scalars(select(EvidenceEntry).order_by(EvidenceEntry.id).limit(3)).all()
        log.append([leaf(row.id, row.kind, row.subject, row.at, row.body) for row in rows])
    assert sequence(database, log) == 2
    everything_is_in_the_log_once(database, log)


def no_folder(log: Log) -> None:
    """As where the disk of the log is not mounted, and something else is in its place."""
    shutil.rmtree(log.folder)
    log.folder.write_text("not a folder")


def no_room(log: Log) -> None:
    """As where the disk gives an error to whoever writes."""
    (log.folder / "tile").write_text("not a folder")


def half_an_intent(log: Log) -> None:
    (log.folder / "appending").write_text("")


def another_holds_it(log: Log) -> None:
    held = FileLock(log.folder / "lock")
    held.acquire()
    HELD.append(held)


HELD: list[FileLock] = []


@pytest.mark.parametrize("wrong", [no_folder, no_room, half_an_intent, another_holds_it])
def test_what_was_done_does_not_fail_by_the_log(
    database: Database, tmp_path: Path, wrong: Callable[[Log], None]
) -> None:
    """Whoever did something is told that it is done, soon, whatever is wrong with the log; the entries wait."""
    log = Log.at(tmp_path)
    record_some(database, 3)
    wrong(log)
    begun = time.monotonic()
    assert not keep_up(database, log)
    assert time.monotonic() - begun < 30, "nobody at the counter waits as long as another append does"
    assert waiting(database) == 3
    while HELD:
        HELD.pop().release()


def test_the_log_takes_what_waited(database: Database, tmp_path: Path) -> None:
    """When nothing is wrong any more."""
    log = Log.at(tmp_path)
    record_some(database, 3)
    no_room(log)
    assert not keep_up(database, log)
    (log.folder / "tile").unlink()
    assert keep_up(database, log)
    everything_is_in_the_log_once(database, log)


def test_what_was_done_is_done_though_the_log_cannot_be_opened(database: Database, tmp_path: Path) -> None:
    """A home whose checkpoint was damaged: told, not raised."""
    sequence(database, Log.at(tmp_path))
    record_some(database, 1)
    (tmp_path / "log" / "checkpoint").write_text("damaged", encoding="utf-8")
    assert not keep_up(database, tmp_path)
    assert waiting(database) == 1


def test_an_older_copy_of_the_log_is_refused(database: Database, tmp_path: Path) -> None:
    """Where the database knows entries that the log has lost, nothing is appended in their place."""
    record_some(database, 3)
    sequence(database, Log.at(tmp_path))
    record_some(database, 1)
    with pytest.raises(EvidenceBroken, match="knows 3 entries of the log, but the log holds 0"):
        sequence(database, Log.at(tmp_path / "other"))


def test_an_older_copy_of_the_database_is_refused(database: Database, tmp_path: Path) -> None:
    """Where the log holds entries that the database has lost, their ids are not given to others."""
    log = Log.at(tmp_path)
    log.append([leaf(1, "alert:send", "alert:lost", AT, "{}")])
    record_some(database, 1)
    with pytest.raises(EvidenceBroken, match="does not know"):
        sequence(database, log)


def _work(url: str, home: str, seed: int, step: int) -> None:
    """Record and sequence, killed at the ``step``-th file operation or random moment of the interpreter."""
    database, log, chance, left = Database(url), Log.at(Path(home)), random.Random(seed), step

    def count_down(_event: str, _arguments: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count_down)
    for _ in range(4):
        record_some(database, chance.randint(1, 40))
        sequence(database, log)
    os._exit(0)


def test_killed_anywhere_nothing_is_lost_or_repeated(database_url: str, tmp_path: Path) -> None:
    """Two processes at once, killed again and again: each committed entry is in the log once, and nothing else."""
    Database(database_url).close()
    Log.at(tmp_path)
    chance, killed = random.Random(20190506), 0
    for round_ in range(15):
        pair = [
            FRESH.Process(target=_work, args=(database_url, str(tmp_path), round_ * 2 + at, chance.randint(1, 400)))
            for at in range(2)
        ]
        for child in pair:
            child.start()
        for child in pair:
            child.join()
            assert child.exitcode in (0, -signal.SIGKILL)
            killed += child.exitcode != 0
    assert killed >= 15
    database, log = Database(database_url), Log.at(tmp_path)
    sequence(database, log)
    assert log.size > 0
    everything_is_in_the_log_once(database, log)
    database.close()
